"""Accuracy by threat and method, grouped by what the attacker knows."""

from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.comparison import is_noise
from stages.report.style import GRID, GROUNDS, PERCENT_TICKS, add_legend, as_png, legend_inches, looks_of
from stages.report.tables import Results
from stages.report.vocabulary import KNOWLEDGE, Threat
from stages.report.wording import percent

INCHES_PER_METHOD, INCHES_PER_THREAT, INCHES_PER_GROUP = 0.15, 0.66, 0.42
COLUMNS = 3


@as_png
def accuracy_figure(studies: list[Results]) -> Figure:
    """Draw one block per data set: a panel for each kind of attacker, a line for each threat, a mark for each method.

    Marks are hollow where within noise of the reference; bars are 95 % Wilson intervals.
    """
    first = studies[0]
    groups = [(knowledge, list(group)) for knowledge, group in groupby(first.threats, lambda one: one.knowledge)]
    height = max(INCHES_PER_THREAT, INCHES_PER_METHOD * len(first.methods)) * len(first.threats)
    height += INCHES_PER_GROUP * len(groups) + 0.5 + legend_inches(first.methods, COLUMNS)
    figure = Figure(figsize=(8.4, height * len(studies)), layout="constrained")
    for block, study in zip(figure.subfigures(len(studies), squeeze=False).flat, studies, strict=True):
        ratios = [len(group) for _, group in groups]
        panels = block.subplots(len(groups), sharex=True, squeeze=False, height_ratios=ratios).flat
        for panel, (knowledge, group) in zip(panels, groups, strict=True):
            draw_threats(panel, study, group)
            n = " or ".join(map(str, sorted({line.n for threat in group for line in study.of_threat(threat)})))
            panel.set_title(f"{knowledge}: {KNOWLEDGE[knowledge]}  (n = {n} images)", fontweight="bold")
            panel.set_facecolor(GROUNDS[knowledge])
        panel.set(xlim=(0, 1.06), xlabel="accuracy in %, under attack robust accuracy; bar: 95 % interval")
        panel.set_xticks(*PERCENT_TICKS)
        add_legend(block, study.methods, columns=COLUMNS, hollow=f"within noise of {study.reference.label}")
        block.suptitle(study.title, x=0.008, ha="left", fontweight="bold")
    return figure


def draw_threats(panel: Axes, study: Results, threats: list[Threat]) -> None:
    """Draw the threats of one kind of attacker, the first on top, in each the methods in their order."""
    looks, count = looks_of(study.methods).values(), len(study.methods)
    for index, threat in enumerate(threats):
        for place, (line, look) in enumerate(zip(study.of_threat(threat), looks, strict=True)):
            at = index + 0.8 * ((place + 0.5) / count - 0.5)
            panel.hlines(at, line.low, line.high, color=look.colour, linewidth=1.8)
            panel.plot(line.accuracy, at, **look.mark(hollow=is_noise(study, line)))
            panel.text(line.high + 0.008, at, percent(line.accuracy), va="center", fontsize=7)
    panel.set_yticks(range(len(threats)), [f"{threat.name}\n{threat.recipe}" for threat in threats], fontsize=8)
    panel.set_ylim(len(threats) - 0.45, -0.55)
    panel.grid(axis="x", **GRID)
