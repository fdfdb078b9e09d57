"""Images clean and attacked, and the texts of the classes, in the plane in which the clean images spread most."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.labels import Label, place_labels
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
        figure.draw_without_rendering()  # where marks stand, and with them what labels would cover
        for row, table in zip(panels, tables.values(), strict=True):
            for panel, kind in zip(row, IMAGES, strict=True):
                label_texts(panel, table, kind)
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
    panel.margins(0.08)
    panel.grid(**GRID)
    panel.set_axisbelow(True)


def draw_texts(panel: Axes, table: pd.DataFrame) -> None:
    """Draws the texts of each prompt."""
    for prompt, name in PROMPTS.items():
        texts = table[table["kind"] == prompt]
        look = {"color": COLOURS[prompt], "edgecolor": "white", "marker": MARKERS[prompt], "linewidth": 0.6}
        panel.scatter(texts["x"], texts["y"], s=size_of(texts) ** 2, label=name, **look)


def label_texts(panel: Axes, table: pd.DataFrame, kind: str) -> None:
    """Writes the labels of the first 10 classes beside their texts, where they cover few images of the panel's kind."""
    texts = table[table["kind"].isin(PROMPTS)]
    told = texts.loc[texts["label"] < MOST_COLOURS, ["kind", "label", "x", "y"]].itertuples(index=False)
    labels = [Label(str(label), (across, up), COLOURS[prompt]) for prompt, label, across, up in told]
    images = table.loc[table["kind"] == kind, ["x", "y"]].to_numpy()
    marks = texts[["x", "y"]].to_numpy()
    place_labels(panel, labels, marks=marks, dots=images, size=size_of(texts), fontsize=7)


def size_of(texts: pd.DataFrame) -> float:
    """The diameter of the marks, in points: smaller where more classes are drawn than have labels."""
    return 5.8 if texts["label"].max() < MOST_COLOURS else 3.7
