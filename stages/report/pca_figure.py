"""Images clean and attacked, and the text features, in the plane in which the clean images vary most."""

import matplotlib
import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.style import GRID, LABELS, looks_of, png, short, styled
from stages.report.vocabulary import Method

IMAGES = {"clean": "clean", "adversarial": "attacked"}
MOST_COLOURS = 10  # classes that colours can tell apart
MOST_LABELLED = 4  # methods; more numbers cannot be read


def pca_figure(tables: dict[str, pd.DataFrame], class_names: dict[str, list[str]], methods: list[Method]) -> bytes:
    """Draw one line of panels per data set: the clean images, the same images attacked, each below the texts.

    Args:
        tables: For each data set, as `interpretation.tables.pca_table` makes it.
        class_names: The names of each data set, by label.
        methods: All methods of the report.

    Returns:
        A PNG. Colours are classes, of more than 10 the first 10, all others grey.
    """
    legend = 0.15 * (MOST_COLOURS + len(methods))
    with styled():
        figure = Figure(figsize=(9.6, max(4.2, legend) * len(tables) + 0.4), layout="constrained")
        panels = figure.subplots(len(tables), len(IMAGES), squeeze=False, sharex="row", sharey="row")
        for row, (dataset, table) in zip(panels, tables.items(), strict=True):
            for panel, (kind, name) in zip(row, IMAGES.items(), strict=True):
                draw_images(panel, table[table["kind"] == kind], class_names[dataset])
                draw_texts(panel, table, methods)
                kept = 100 * sum(share_of(table, kind))
                panel.set_title(
                    f"{dataset}, {name}: {(table['kind'] == kind).sum()} images, {kept:.0f} % of the variance"
                )
            first, second = share_of(table, "clean")
            row[0].set_ylabel(f"2nd component, {100 * second:.0f} % of the clean variance")
            for panel in row:
                panel.set_xlabel(f"1st component, {100 * first:.0f} % of the clean variance")
            row[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, markerscale=1.4)
        figure.draw_without_rendering()  # adjustText needs to know where the marks are
        for row, table in zip(panels, tables.values(), strict=True):
            for panel in row:
                label_texts(panel, table, methods)
        return png(figure)


def share_of(table: pd.DataFrame, kind: str) -> tuple[float, float]:
    """Return the shares of the squared distances from the mean that the two axes show of the points of one kind."""
    points = table[table["kind"] == kind]
    whole = (points["distance"] ** 2).sum()
    return (points["x"] ** 2).sum() / whole, (points["y"] ** 2).sum() / whole


def draw_images(panel: Axes, points: pd.DataFrame, names: list[str]) -> None:
    """Draw the images of one kind, coloured by class."""
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


def draw_texts(panel: Axes, table: pd.DataFrame, methods: list[Method]) -> None:
    """Draw the text features of each method."""
    for method, look in zip(methods, looks_of(methods).values(), strict=True):
        texts = table[table["kind"] == method.name]
        mark = {"color": look.colour, "edgecolor": "white", "marker": look.marker, "linewidth": 0.6}
        panel.scatter(texts["x"], texts["y"], s=size_of(table) ** 2, label=method.label, **mark)


def label_texts(panel: Axes, table: pd.DataFrame, methods: list[Method]) -> None:
    """Write the labels of the first 10 classes beside the text features of the first methods, clear of the marks."""
    looks = looks_of(methods)
    names = [
        panel.text(text.x, text.y, str(text.label), color=looks[method.name].colour, fontsize=7)
        for method in methods[:MOST_LABELLED]
        for text in table[(table["kind"] == method.name) & (table["label"] < MOST_COLOURS)].itertuples()
    ]
    labelled = table["kind"].isin([method.name for method in methods[:MOST_LABELLED]])
    marks = panel.transData.transform(table.loc[labelled, ["x", "y"]])
    half = size_of(table) / 2 * panel.figure.dpi / 72
    corners = marks[:, None] + half * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)])
    adjust_text(names, *panel.transData.inverted().transform(corners.reshape(-1, 2)).T, ax=panel, **LABELS)


def size_of(table: pd.DataFrame) -> float:
    """Return the diameter of the marks, in points: smaller where more classes are drawn than have labels."""
    return 5.8 if table["label"].max() < MOST_COLOURS else 3.7
