"""What the attacks look like: clean, adversarial, and the difference with its scale."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from stages.report.style import png, short, styled

INCHES = 1.42  # side of one picture
HEAD = {"loc": "center", "fontsize": 8}  # above a column of pictures


@dataclass(frozen=True)
class Attacked:
    """The images of a sample under one threat.

    Attributes:
        title: What made them.
        eps: Radius of the ball, in 1/255; the ends of the difference's scale.
        pixels: (N, H, W, 3), uint8.
        verdicts: What each prompt says of each image, N texts.
    """

    title: str
    eps: float
    pixels: np.ndarray
    verdicts: list[str]


@dataclass(frozen=True)
class Sample:
    """A few test images of one data set, clean and under each shown threat.

    Attributes:
        dataset: Its name.
        pixels: Clean images (N, H, W, 3), uint8.
        names: The class name of each image.
        attacked: The same images under attack, perhaps none.
    """

    dataset: str
    pixels: np.ndarray
    names: list[str]
    attacked: list[Attacked]


def gallery(samples: list[Sample]) -> bytes:
    """A line of pictures per image: clean, then adversarial and difference for each threat. A PNG."""
    lines = [len(sample.pixels) for sample in samples]
    columns = 1 + 2 * max(len(sample.attacked) for sample in samples)
    with styled():
        size = (max(INCHES * columns, 4), sum(lines) * (INCHES + 0.34) + 0.75 * len(samples))
        figure = Figure(figsize=size, layout="constrained")
        blocks = figure.subfigures(len(samples), squeeze=False, height_ratios=lines).flat
        for block, sample in zip(blocks, samples, strict=True):
            draw_sample(block, sample, columns)
        return png(figure)


def draw_sample(block: SubFigure, sample: Sample, columns: int) -> None:
    """Draws the images of one data set."""
    panels = block.subplots(len(sample.pixels), columns, squeeze=False)
    block.suptitle(f"{sample.dataset}: the first test image of some classes", x=0.01, ha="left", fontweight="bold")
    for panel in panels.flat:
        panel.set_axis_off()
    for row, clean, name in zip(panels, sample.pixels, sample.names, strict=True):
        show(row[0], clean, below=short(name))
    panels[0, 0].set_title("clean", **HEAD)
    for attacked, left, right in zip(sample.attacked, panels.T[1::2], panels.T[2::2], strict=False):
        left[0].set_title(attacked.title, **HEAD)
        right[0].set_title(f"difference\nblack −{attacked.eps:g}, white +{attacked.eps:g}", **HEAD)
        for line, (clean, adversarial) in enumerate(zip(sample.pixels, attacked.pixels, strict=True)):
            show(left[line], adversarial, below=attacked.verdicts[line])
            show(right[line], scaled_difference(clean, adversarial, attacked.eps))


def scaled_difference(clean: np.ndarray, adversarial: np.ndarray, eps: float) -> np.ndarray:
    """The signed difference of two uint8 images, each channel in [0, 1]: 0.5 is no change, 0 is -eps, 1 is +eps."""
    difference = adversarial.astype(float) - clean.astype(float)
    return np.clip(0.5 + difference / (2 * max(eps, 1)), 0, 1)


def show(panel: Axes, image: np.ndarray, *, below: str = "") -> None:
    """Shows one picture, its pixels as they are, and a text below it."""
    panel.imshow(image, interpolation="nearest")
    panel.text(0.5, -0.04, below, transform=panel.transAxes, ha="center", va="top", fontsize=7)
