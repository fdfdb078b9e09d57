"""Labels beside marks: one after the other, each where it covers least.

All lengths are in points of 1/72 inch, and so are places, from the corner of the figure, but for those of the data.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text

DIRECTIONS = np.array([way for way in product((1, 0, -1), repeat=2) if way != (0, 0)])  # (8, 2)
GAPS = np.array([1.5, 5, 9, 14, 20, 27])  # from a mark to its label; but for the first, with a line between them
CLEAR = 2.5  # from a label to the marks of others
JOINT = 3  # width of the room of a line
CROWD = 40  # width of the neighbourhood whose marks are counted
STEPS, DENSE = 16, 200  # places on a line, on each part of a curve
FORBIDDEN, UNWANTED, FAR = 1000, 4, 0.5  # costs: of what is covered, of what is nearly or of less weight, of a point
HALO = [withStroke(linewidth=1.6, foreground="white")]


class Label(NamedTuple):
    """What is written beside a mark.

    Attributes:
        text: A few letters.
        place: The centre of the mark, in the data's coordinates.
        colour: Of the letters.
    """

    text: str
    place: tuple[float, float]
    colour: str


class Taken(NamedTuple):
    """What stands in a panel, as boxes: left, bottom, right, top.

    Attributes:
        solid: Marks and labels, (P, 4).
        joints: The lines between them, in steps, (J, 4).
        dots: What may be covered if need be, (S, 4).
    """

    solid: np.ndarray
    joints: np.ndarray
    dots: np.ndarray


def place_labels(
    panel: Axes, labels: list[Label], *, marks: np.ndarray, dots: np.ndarray, size: float, fontsize: float
) -> None:
    """Writes labels inside of the panel, over no mark and no other label as long as there is room.

    The most crowded label chooses first. One that has to stand apart from its mark is joined to it by a line.

    Args:
        panel: Axes with their final limits, in a figure that is laid out (`figure.draw_without_rendering()`).
        labels: What to write.
        marks: Centres of all marks, labelled or not, (P, 2), in the data's coordinates.
        dots: What is better not covered either, (S, 2), the same: small marks, places on curves.
        size: Diameter of a mark.
        fontsize: Of the labels.
    """
    places = points_of(panel, np.array([label.place for label in labels]))
    taken = Taken(around(points_of(panel, marks), size), np.empty((0, 4)), around(points_of(panel, dots), 0))
    crowds = covered(around(places, CROWD), taken.solid)
    for index in np.argsort(-crowds, kind="stable"):
        note = written(panel, labels[index], fontsize)
        extent = Text.get_window_extent(note).size * 72 / panel.figure.dpi
        offsets, gaps = offsets_around(extent, size)
        lines = places[index] + np.linspace(size * np.sign(offsets) / 2, offsets, STEPS, axis=1)
        cost = costs(places[index] + offsets, extent, gaps, lines, taken)
        best = np.argmin(cost + FORBIDDEN * outside(around(places[index] + offsets, extent), panel))
        apart = gaps[best] > GAPS[0]
        note.set_position(offsets[best])
        note.arrow_patch.set_visible(apart)
        taken = taken._replace(
            solid=np.concatenate([taken.solid, around(places[[index]] + offsets[best], extent)]),
            joints=np.concatenate([taken.joints, around(lines[best] if apart else lines[best, :0], JOINT)]),
        )


def costs(centres: np.ndarray, extent: np.ndarray, gaps: np.ndarray, lines: np.ndarray, taken: Taken) -> np.ndarray:
    """How bad each of B places is for a label.

    Args:
        centres: Of the label, (B, 2).
        extent: Its width and height, (2,).
        gaps: From the mark, (B,).
        lines: Steps from the mark's rim to the label, (B, STEPS, 2).
        taken: What stands there.

    Returns:
        The costs, (B,).
    """
    boxes, firm = around(centres, extent), np.concatenate([taken.solid, taken.joints])
    near = covered(around(centres, extent + 2 * CLEAR), taken.solid) - (gaps < CLEAR)  # its own mark may be near
    crossed = covered(around(lines.reshape(-1, 2), 0), firm).reshape(-1, STEPS).sum(1)
    return FORBIDDEN * covered(boxes, firm) + UNWANTED * (near + crossed + covered(boxes, taken.dots)) + FAR * gaps


def along(corners: np.ndarray) -> np.ndarray:
    """Places close to each other on the lines from each corner (P, 2) to the next, (DENSE * (P - 1) + 1, 2)."""
    order = np.arange(len(corners))
    between = np.linspace(0, order[-1], DENSE * order[-1] + 1)
    return np.stack([np.interp(between, order, column) for column in corners.T], axis=1)


def written(panel: Axes, label: Label, fontsize: float) -> Annotation:
    """A label whose centre stands on its mark, with a line to it."""
    line = {"arrowstyle": "-", "linewidth": 0.6, "color": label.colour, "shrinkA": 0, "shrinkB": 0}
    look = {"ha": "center", "va": "center", "fontsize": fontsize, "color": label.colour, "path_effects": HALO}
    note = panel.annotate(label.text, label.place, (0, 0), textcoords="offset points", arrowprops=line, **look)
    note.set_in_layout(False)
    return note


def points_of(panel: Axes, places: np.ndarray) -> np.ndarray:
    """Places in the data's coordinates, (P, 2), as places in the figure, (P, 2)."""
    return panel.transData.transform(places) * 72 / panel.figure.dpi


def around(centres: np.ndarray, extent: np.ndarray | float) -> np.ndarray:
    """Boxes of one extent around centres (P, 2): left, bottom, right, top, (P, 4)."""
    return np.concatenate([centres - np.divide(extent, 2), centres + np.divide(extent, 2)], axis=1)


def offsets_around(extent: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """From the centre of a mark to where that of its label (extent (2,)) may stand, (8 * gaps, 2), and the gaps."""
    apart = GAPS[:, None, None] + (size + extent) / 2
    return (DIRECTIONS * apart).reshape(-1, 2), GAPS.repeat(len(DIRECTIONS))


def covered(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many of the other boxes (O, 4) each of the boxes (B, 4) meets, (B,)."""
    meets = (boxes[:, None, :2] < others[:, 2:]) & (boxes[:, None, 2:] > others[:, :2])
    return (meets[..., 0] & meets[..., 1]).sum(1)


def outside(boxes: np.ndarray, panel: Axes) -> np.ndarray:
    """Whether each of the boxes (B, 4) leaves the panel, (B,)."""
    low, high = panel.bbox.get_points() * 72 / panel.figure.dpi
    return ((boxes[:, :2] < low) | (boxes[:, 2:] > high)).any(1)
