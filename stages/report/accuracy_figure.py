"""Accuracy by threat and prompt, grouped by what the attacker knows."""

from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from stages.report.findings import effect
from stages.report.style import COLOURS, GRID, GROUNDS, MARKERS, PERCENT_TICKS, png, styled
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import KNOWLEDGE, PROMPTS, Threat

INCHES_PER_THREAT, INCHES_PER_GROUP = 0.66, 0.42


def accuracy_figure(results: Results, datasets: list[str], threats: list[Threat]) -> bytes:
    """One block per data set: a panel for each kind of attacker, a line for each threat, a mark for each prompt.

    Returns:
        A PNG. The marks are accuracies, hollow where within noise of the hand-written prompt; the bars are their 95 %
        Wilson intervals.
    """
    groups = [(knowledge, list(group)) for knowledge, group in groupby(threats, lambda threat: threat.knowledge)]
    height = INCHES_PER_THREAT * len(threats) + INCHES_PER_GROUP * len(groups) + 0.9
    with styled():
        figure = Figure(figsize=(8.4, height * len(datasets)), layout="constrained")
        for block, dataset in zip(figure.subfigures(len(datasets), squeeze=False).flat, datasets, strict=True):
            draw_dataset(block, results, dataset, groups)
        return png(figure)


def draw_dataset(block: SubFigure, results: Results, dataset: str, groups: list[tuple[str, list[Threat]]]) -> None:
    """Draws the panels of one data set on a common axis from 0 to 100 %."""
    ratios = [len(group) for _, group in groups]
    panels = block.subplots(len(groups), sharex=True, squeeze=False, height_ratios=ratios).flat
    for panel, (knowledge, group) in zip(panels, groups, strict=True):
        draw_group(panel, results, dataset, group)
        counts = sorted({line.n for key, line in results.items() if key[0] == dataset and line.knowledge == knowledge})
        n = " or ".join(str(count) for count in counts)
        panel.set_title(f"{knowledge}: {KNOWLEDGE[knowledge]}  (n = {n} images)", fontweight="bold")
        panel.set_facecolor(GROUNDS[knowledge])
    panel.set(xlim=(0, 1.06), xlabel="accuracy in %: right on the clean image and under attack; bar: 95 % interval")
    panel.set_xticks(*PERCENT_TICKS)
    filled = [Line2D([], [], **look(prompt), label=name) for prompt, name in PROMPTS.items()]
    hollow = Line2D([], [], **look("hand", hollow=True), label="within noise of hand-written")
    block.legend(handles=[*filled, hollow], loc="outside upper right", ncols=3)
    block.suptitle(dataset, x=0.008, ha="left", fontweight="bold")


def draw_group(panel: Axes, results: Results, dataset: str, group: list[Threat]) -> None:
    """Draws the threats of one kind of attacker, the first on top."""
    for index, threat in enumerate(group):
        hand = results[dataset, threat.name, "hand"]
        for offset, prompt in zip((-0.3, -0.1, 0.1, 0.3), PROMPTS, strict=True):
            draw_line(panel, results[dataset, threat.name, prompt], hand, index + offset)
    panel.set_yticks(range(len(group)), [f"{threat.name}\n{threat.recipe}" for threat in group], fontsize=8)
    panel.set_ylim(len(group) - 0.45, -0.55)
    panel.grid(axis="x", **GRID)
    panel.set_axisbelow(True)


def draw_line(panel: Axes, line: Accuracy, hand: Accuracy, place: float) -> None:
    """Draws one accuracy with its interval."""
    hollow = line is not hand and effect(line, hand) == "noise"
    panel.hlines(place, line.low, line.high, color=COLOURS[line.prompt], linewidth=1.8)
    panel.plot(line.accuracy, place, **look(line.prompt, hollow=hollow))
    panel.text(line.high + 0.008, place, f"{100 * line.accuracy:.1f}", va="center", fontsize=7)


def look(prompt: str, *, hollow: bool = False) -> dict[str, Any]:
    """How the mark of a prompt looks."""
    colour = COLOURS[prompt]
    face = "white" if hollow else colour
    return {"color": colour, "marker": MARKERS[prompt], "markersize": 4.5, "markerfacecolor": face, "linestyle": "none"}
