"""Images clean and attacked, and the texts of the classes, in the plane in which the clean images spread most."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.style import COLOURS, GRID, MARKERS, png, short, styled
from stages.report.vocabulary import PROMPTS

IMAGES = {"clean": "clean", "adversarial": "attacked"}
MOST_COLOURS = 10  # classes that colours can tell apart


def plane_figure(tables: dict[str, pd.DataFrame], class_names: dict[str, list[str]]) -> bytes:
    """One line of panels per data set: the clean images, the same images attacked, each below the texts.

    Args:
        tables: For each data set, as `mapping.plane_table` makes it.
        class_names: The names of each data set, by label.

    Returns:
        A PNG. Colours are classes, of more than 10 the first 10, all others grey.
    """
    with styled():
        figure = Figure(figsize=(9.6, 4.2 * len(tables) + 0.4), layout="constrained")
        panels = figure.subplots(len(tables), len(IMAGES), squeeze=False, sharex="row", sharey="row")
        for row, (dataset, table) in zip(panels, tables.items(), strict=True):
            for panel, (kind, name) in zip(row, IMAGES.items(), strict=True):
                draw_images(panel, table[table["kind"] == kind], class_names[dataset])
                draw_texts(panel, table)
                kept = 100 * sum(share_of(table, kind))
                panel.set_title(f"{dataset}, {name}: {(table['kind'] == kind).sum()} images, {kept:.0f} % seen")
            first, second = share_of(table, "clean")
            row[0].set_ylabel(f"2nd component, {100 * second:.0f} % of the clean variance")
            for panel in row:
                panel.set_xlabel(f"1st component, {100 * first:.0f} % of the clean variance")
            row[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, markerscale=1.4)
        return png(figure)


def share_of(table: pd.DataFrame, kind: str) -> tuple[float, float]:
    """Which shares of the squared distance from the mean the two axes show of the points of one kind."""
    points = table[table["kind"] == kind]
    whole = (points["distance"] ** 2).sum()
    return (points["x"] ** 2).sum() / whole, (points["y"] ** 2).sum() / whole


def draw_images(panel: Axes, points: pd.DataFrame, names: list[str]) -> None:
    """Draws the images of one kind, coloured by class."""
    colours = matplotlib.colormaps["tab10"].colors
    others = points[points["label"] >= MOST_COLOURS]
    if len(others):
        panel.scatter(others["x"], others["y"], s=6, color="#c4c9cf", linewidth=0, label="the other classes")
    for label, name in enumerate(names[:MOST_COLOURS]):
        part = points[points["label"] == label]
        label_of = f"{label}  {short(name)}"
        panel.scatter(part["x"], part["y"], s=7, color=colours[label], alpha=0.65, linewidth=0, label=label_of)
    panel.grid(**GRID)
    panel.set_axisbelow(True)


def draw_texts(panel: Axes, table: pd.DataFrame) -> None:
    """Draws the texts of each prompt, with the labels of the first 10 classes."""
    for prompt, name in PROMPTS.items():
        texts = table[table["kind"] == prompt]
        look = {"color": COLOURS[prompt], "edgecolor": "white", "marker": MARKERS[prompt], "linewidth": 0.6}
        panel.scatter(texts["x"], texts["y"], s=np.where(len(texts) > MOST_COLOURS, 14, 34), label=name, **look)
        for label, across, up in texts.loc[texts["label"] < MOST_COLOURS, ["label", "x", "y"]].itertuples(index=False):
            at = {"xytext": (4, 2), "textcoords": "offset points", "fontsize": 7, "color": COLOURS[prompt]}
            panel.annotate(str(label), (across, up), **at)
