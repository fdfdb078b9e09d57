"""Images clean and attacked, and the text features, in the plane in which the clean images vary most."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.style import GRID, LABELS, as_png, looks_of, short
from stages.report.vocabulary import Method

IMAGES = {"clean": "clean", "adversarial": "attacked"}
MOST_COLOURS = 10  # classes that colours can tell apart
MOST_LABELLED = 4  # methods; more numbers cannot be read


@as_png
def pca_figure(tables: dict[str, pd.DataFrame], class_names: dict[str, list[str]], methods: list[Method]) -> Figure:
    """Draw one line of panels per data set: the clean images, the same images attacked, each below the text features.

    The tables are those of `interpretation.tables.pca_table`, by data set; the first 10 classes have colours.
    """
    height = max(4.2, 0.15 * (MOST_COLOURS + len(methods)))  # at least that of a legend
    figure = Figure(figsize=(9.6, height * len(tables) + 0.4), layout="constrained")
    panels = figure.subplots(len(tables), len(IMAGES), squeeze=False, sharex="row", sharey="row")
    for row, (dataset, table) in zip(panels, tables.items(), strict=True):
        first, second = share_of(table, "clean")
        for panel, (kind, name) in zip(row, IMAGES.items(), strict=True):
            images = table[table["kind"] == kind]
            draw_images(panel, images, class_names[dataset])
            draw_texts(panel, table, methods)
            kept = 100 * sum(share_of(table, kind))
            panel.set_title(f"{dataset}, {name}: {len(images)} images, {kept:.0f} % of the variance")
            panel.set_xlabel(f"1st component, {100 * first:.0f} % of the clean variance")
        row[0].set_ylabel(f"2nd component, {100 * second:.0f} % of the clean variance")
        row[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, markerscale=1.4)
    figure.draw_without_rendering()  # adjustText needs to know where the marks are
    for row, table in zip(panels, tables.values(), strict=True):
        label_texts(row, table, methods)
    return figure


def share_of(table: pd.DataFrame, kind: str) -> tuple[float, float]:
    """Return the shares of the squared distances from the mean that the two axes show of the points of one kind."""
    squares = table.loc[table["kind"] == kind, ["x", "y", "distance"]].pow(2).sum()
    return squares["x"] / squares["distance"], squares["y"] / squares["distance"]


def draw_images(panel: Axes, points: pd.DataFrame, names: list[str]) -> None:
    """Draw the images of one kind, coloured by class."""
    others = points[points["label"] >= MOST_COLOURS]
    if len(others):
        panel.scatter(others["x"], others["y"], s=6, color="#c4c9cf", linewidth=0, label="the other classes")
    colours = matplotlib.color_sequences["tab10"]
    for label, (name, colour) in enumerate(zip(names, colours, strict=False)):
        part = points[points["label"] == label]
        text = f"{label}  {short(name)}"
        panel.scatter(part["x"], part["y"], s=7, color=colour, alpha=0.65, linewidth=0, label=text)
    panel.margins(0.08)
    panel.grid(**GRID)


def draw_texts(panel: Axes, table: pd.DataFrame, methods: list[Method]) -> None:
    """Draw the text features of each method that has some of its own; others are not in the legend either."""
    for method, look in zip(methods, looks_of(methods).values(), strict=True):
        texts = table[table["kind"] == method.name]
        if texts.empty:
            continue
        mark: dict[str, Any] = {"color": look.colour, "edgecolor": "white", "marker": look.marker, "linewidth": 0.6}
        panel.scatter(texts["x"], texts["y"], s=size_of(table) ** 2, label=method.label, **mark)


def label_texts(panels: Sequence[Axes], table: pd.DataFrame, methods: list[Method]) -> None:
    """Write the labels of the first 10 classes beside the text features of the first methods, clear of their marks.

    The marks of other classes are not avoided: `adjust_text` takes time and memory with the square of their number.
    The panels share their axes, so the places that are found in the first one serve in all.
    """
    first, *others = panels
    looks = looks_of(methods[:MOST_LABELLED])
    labelled = table[table["kind"].isin(looks) & (table["label"] < MOST_COLOURS)]
    marks = first.transData.transform(labelled[["x", "y"]])  # in pixels
    half = size_of(table) / 2 * first.figure.dpi / 72
    corners = marks[:, None] + half * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)])
    to_data = first.transData.inverted().transform
    places = to_data(marks + np.array([0, 3 * half]))
    style: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "center"}
    names = [
        first.text(place[0], place[1], str(label), color=looks[kind].colour, **style)
        for place, kind, label in zip(places, labelled["kind"], labelled["label"], strict=True)
    ]
    x, y = labelled[["x", "y"]].to_numpy().T
    adjust_text(names, *to_data(corners.reshape(-1, 2)).T, ax=first, target_x=x, target_y=y, **LABELS)
    for panel in others:
        for name, mark in zip(names, zip(x, y, strict=True), strict=True):
            look = {**style, "color": name.get_color(), "arrowprops": LABELS["arrowprops"]}
            panel.annotate(name.get_text(), mark, name.get_position(), **look)


def size_of(table: pd.DataFrame) -> float:
    """Return the diameter of the marks, in points: smaller where more classes are drawn than have labels."""
    return 5.8 if table["label"].max() < MOST_COLOURS else 3.7
