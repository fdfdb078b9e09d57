"""Accuracy class by class, the hand-written prompt beside AdvPT and the refreshed one."""

from html import unescape

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.report.accuracy_figure import look
from stages.report.classes import whole_points
from stages.report.statistics import wilson
from stages.report.style import COLOURS, GRID, PERCENT_TICKS, png, short, styled
from stages.report.vocabulary import PROMPTS, Threat

SIDE_BY_SIDE = {"hand": -0.24, "advpt": 0.0, "advpt_refreshed": 0.24}  # where in its line
MOST_CLASSES = 20  # more lines than this cannot be read
INCHES_PER_CLASS = 0.28


def classes_figure(table: pd.DataFrame, datasets: list[str], threats: list[Threat]) -> bytes:
    """One line of panels per data set, one panel per threat.

    Args:
        table: As `classes.classes_table` makes it.
        datasets: Their names, from top to bottom.
        threats: The threats of the table; the last one orders the classes, of more than 20 each orders its own.

    Returns:
        A PNG. Marks are accuracies, bars 95 % Wilson intervals for the images of the class, numbers what AdvPT and the
        refreshed prompt gain.
    """
    by_dataset = {name: table[table["dataset"] == name] for name in datasets}
    lines = [min(part["class"].nunique(), MOST_CLASSES) for part in by_dataset.values()]
    with styled():
        size = (8.4, INCHES_PER_CLASS * sum(lines) + 0.8 * len(lines) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(lines), len(threats), squeeze=False, height_ratios=lines)
        for row, (dataset, part) in zip(panels, by_dataset.items(), strict=True):
            common = part[part["threat"] == threats[-1].name]
            for panel, threat in zip(row, threats, strict=True):
                draw(panel, chosen(part[part["threat"] == threat.name], common))
                known = f" ({threat.knowledge})" if threat.attack else ""
                panel.set_title(f"{dataset}, {threat.name}{known}")
        handles = [Line2D([], [], **look(prompt), label=PROMPTS[prompt]) for prompt in SIDE_BY_SIDE]
        figure.legend(handles=handles, loc="outside upper left", ncols=3)
        return png(figure)


def chosen(part: pd.DataFrame, common: pd.DataFrame) -> pd.DataFrame:
    """The lines to draw by AdvPT's gain: all in the order of `common`, of many classes the largest and smallest."""
    if len(part) <= MOST_CLASSES:
        order = common.sort_values("gain_advpt", ascending=False, kind="stable")["class"]
        return part.set_index("class").reindex(order).dropna().reset_index()
    ordered = part.sort_values("gain_advpt", ascending=False, kind="stable")
    return pd.concat([ordered.head(MOST_CLASSES // 2), ordered.tail(MOST_CLASSES // 2)])


def draw(panel: Axes, lines: pd.DataFrame) -> None:
    """Draws one threat."""
    places = np.arange(len(lines))
    for prompt, offset in SIDE_BY_SIDE.items():
        low, high = wilson(lines[prompt].to_numpy(), lines["n"].to_numpy())
        panel.hlines(places + offset, low, high, color=COLOURS[prompt], linewidth=1, alpha=0.6, clip_on=False)
        panel.plot(lines[prompt], places + offset, **look(prompt), clip_on=False)
    for place, gains in zip(places, lines[["gain_advpt", "gain_advpt_refreshed"]].to_numpy(), strict=True):
        panel.text(1.04, place, " / ".join(map(whole_points, gains)), va="center", fontsize=7)
    panel.set_yticks(places, [short(unescape(name)) for name in lines["class"]], fontsize=8)
    panel.set(
        xlim=(0, 1), ylim=(len(lines) - 0.4, -0.6), xlabel="accuracy in %; right: gains in points, AdvPT / refreshed"
    )
    panel.set_xticks(*PERCENT_TICKS)
    panel.grid(axis="x", **GRID)
    panel.set_axisbelow(True)
