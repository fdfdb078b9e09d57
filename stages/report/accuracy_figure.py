"""Accuracy by threat and method, grouped by what the attacker knows."""

from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from stages.report.comparison import is_noise
from stages.report.style import GRID, GROUNDS, PERCENT_TICKS, legend_inches, legend_marks, looks_of, png, styled
from stages.report.tables import Results
from stages.report.vocabulary import KNOWLEDGE, Threat

INCHES_PER_METHOD, INCHES_PER_THREAT, INCHES_PER_GROUP = 0.15, 0.66, 0.42
LEGEND_COLUMNS = 3


def accuracy_figure(studies: list[Results]) -> bytes:
    """Draw one block per data set: a panel for each kind of attacker, a line for each threat, a mark for each method.

    Returns:
        A PNG. The marks are accuracies, hollow where within noise of the reference; the bars are their 95 % Wilson
        intervals.
    """
    first = studies[0]
    groups = [(knowledge, list(group)) for knowledge, group in groupby(first.threats, lambda one: one.knowledge)]
    per_threat = max(INCHES_PER_THREAT, INCHES_PER_METHOD * len(first.methods))
    height = per_threat * len(first.threats) + INCHES_PER_GROUP * len(groups) + 0.5
    height += legend_inches(first.methods, LEGEND_COLUMNS)
    with styled():
        figure = Figure(figsize=(8.4, height * len(studies)), layout="constrained")
        for block, study in zip(figure.subfigures(len(studies), squeeze=False).flat, studies, strict=True):
            draw_study(block, study, groups)
        return png(figure)


def draw_study(block: SubFigure, study: Results, groups: list[tuple[str, list[Threat]]]) -> None:
    """Draw the panels of one data set on a common axis from 0 to 100 %."""
    ratios = [len(group) for _, group in groups]
    panels = block.subplots(len(groups), sharex=True, squeeze=False, height_ratios=ratios).flat
    for panel, (knowledge, group) in zip(panels, groups, strict=True):
        draw_threats(panel, study, group)
        counts = sorted({line.n for threat in group for line in study.of_threat(threat)})
        n = " or ".join(str(count) for count in counts)
        panel.set_title(f"{knowledge}: {KNOWLEDGE[knowledge]}  (n = {n} images)", fontweight="bold")
        panel.set_facecolor(GROUNDS[knowledge])
    panel.set(xlim=(0, 1.06), xlabel="accuracy in %: correct on the clean image and under attack; bar: 95 % interval")
    panel.set_xticks(*PERCENT_TICKS)
    entries = legend_marks(study.methods, hollow=f"within noise of {study.reference.label}")
    block.legend(handles=entries, loc="outside upper right", ncols=LEGEND_COLUMNS)
    block.suptitle(study.title, x=0.008, ha="left", fontweight="bold")


def draw_threats(panel: Axes, study: Results, threats: list[Threat]) -> None:
    """Draw the threats of one kind of attacker, the first on top, in each the methods in their order."""
    looks, count = looks_of(study.methods), len(study.methods)
    for index, threat in enumerate(threats):
        for place, method in enumerate(study.methods):
            line, at = study.line(threat, method), index + 0.8 * ((place + 0.5) / count - 0.5)
            look = looks[method.name]
            panel.hlines(at, line.low, line.high, color=look.colour, linewidth=1.8)
            panel.plot(line.accuracy, at, **look.mark(hollow=is_noise(study, line)))
            panel.text(line.high + 0.008, at, f"{100 * line.accuracy:.1f}", va="center", fontsize=7)
    panel.set_yticks(range(len(threats)), [f"{threat.name}\n{threat.recipe}" for threat in threats], fontsize=8)
    panel.set_ylim(len(threats) - 0.45, -0.55)
    panel.grid(axis="x", **GRID)
    panel.set_axisbelow(True)
