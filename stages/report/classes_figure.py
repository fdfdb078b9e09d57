"""Accuracy class by class, for all methods."""

from html import unescape

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.statistics import wilson
from stages.report.style import GRID, add_legend, as_png, legend_inches, looks_of, percent_axis, short
from stages.report.vocabulary import Method, Threat
from stages.report.wording import signed

MOST_CLASSES = 20  # more lines than this cannot be read
INCHES_PER_CLASS, INCHES_PER_METHOD = 0.28, 0.075
COLUMNS = 4


@as_png
def classes_figure(
    table: pd.DataFrame, datasets: list[str], threats: list[Threat], methods: list[Method], shown: Method
) -> Figure:
    """Draw one line of panels per data set, one panel per threat.

    Args:
        table: As `classes.classes_table` makes it.
        datasets: Their names, from top to bottom.
        threats: The threats of the table; the last one orders the classes, of more than 20 each orders its own.
        methods: In the order of the report.
        shown: The method by whose gain the classes are ordered.
    """
    by_dataset = {name: table[table["dataset"] == name] for name in datasets}
    counts = [min(part["class"].nunique(), MOST_CLASSES) for part in by_dataset.values()]
    height = max(INCHES_PER_CLASS, INCHES_PER_METHOD * len(methods)) * sum(counts) + 0.8 * len(counts)
    figure = Figure(figsize=(8.4, height + legend_inches(methods, COLUMNS)), layout="constrained")
    panels = figure.subplots(len(counts), len(threats), squeeze=False, height_ratios=counts)
    for row, (dataset, part) in zip(panels, by_dataset.items(), strict=True):
        common = part[part["threat"] == threats[-1].name]
        for panel, threat in zip(row, threats, strict=True):
            lines = part[part["threat"] == threat.name]
            draw(panel, lines, ordered_classes(lines, common, shown), methods, shown)
            panel.set_title(f"{dataset}, {threat.title}")
    add_legend(figure, methods, columns=COLUMNS)
    return figure


def ordered_classes(lines: pd.DataFrame, common: pd.DataFrame, shown: Method) -> list[str]:
    """Return the classes to draw by a method's gain: all in the order of `common`, of many the largest and smallest."""
    own, common = (
        table[table["method"] == shown.name].sort_values("gain", ascending=False, kind="stable")["class"].tolist()
        for table in (lines, common)
    )
    if len(own) <= MOST_CLASSES:
        return [name for name in common if name in own]
    return own[: MOST_CLASSES // 2] + own[-MOST_CLASSES // 2 :]


def draw(panel: Axes, table: pd.DataFrame, classes: list[str], methods: list[Method], shown: Method) -> None:
    """Draw the classes under one threat from top to bottom."""
    places = np.arange(len(classes))
    for index, (method, look) in enumerate(zip(methods, looks_of(methods).values(), strict=True)):
        lines = table[table["method"] == method.name].set_index("class").loc[classes]
        at = places + 0.8 * ((index + 0.5) / len(methods) - 0.5)
        low, high = wilson(lines["accuracy"].to_numpy(), lines["n"].to_numpy())
        panel.hlines(at, low, high, color=look.colour, linewidth=1, alpha=0.6, clip_on=False)
        panel.plot(lines["accuracy"], at, **look.mark() | {"markersize": 3.5}, clip_on=False)
        if method == shown:
            for place, gain in enumerate(lines["gain"]):
                panel.text(1.04, place, signed(gain, digits=0), va="center", fontsize=7)
    panel.set_yticks(places, [short(unescape(name)) for name in classes], fontsize=8)
    percent_axis(panel, "x")
    panel.set(ylim=(len(classes) - 0.4, -0.6), xlabel=f"accuracy in %; right: points gained by {shown.label}")
    panel.grid(axis="x", **GRID)
