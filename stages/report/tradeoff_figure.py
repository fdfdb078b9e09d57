"""Clean accuracy against robust accuracy, for each method and threat."""

from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.comparison import is_noise
from stages.report.statistics import wilson
from stages.report.style import (
    GRID,
    GROUNDS,
    LABELS,
    legend_inches,
    legend_marks,
    looks_of,
    percent_axis,
    png,
    styled,
)
from stages.report.tables import Results
from stages.report.vocabulary import Threat

LEGEND_COLUMNS = 3


def tradeoff_figure(studies: list[Results]) -> bytes:
    """Draw one line of panels per data set, one for each kind of attacker; both axes from 0 to 100 %.

    Returns:
        A PNG. The marks of one threat are joined; crosses are 95 % Wilson intervals.
    """
    first = studies[0]
    kinds = [kind for kind in ("oblivious", "adaptive") if any(one.knowledge == kind for one in first.threats)]
    with styled():
        height = 3.9 * len(studies) + legend_inches(first.methods, LEGEND_COLUMNS)
        figure = Figure(figsize=(8.4, height), layout="constrained")
        panels = figure.subplots(len(studies), max(len(kinds), 1), squeeze=False, sharey=True)
        for row, study in zip(panels, studies, strict=True):
            for panel, kind in zip(row, kinds or ["clean"], strict=True):
                draw(panel, study, [threat for threat in study.threats if threat.knowledge == kind])
                panel.set(title=f"{study.title}, {kind}", facecolor=GROUNDS[kind])
            row[0].set_ylabel("robust accuracy in %")
        entries = legend_marks(first.methods, hollow=f"robust accuracy within noise of {first.reference.label}")
        figure.legend(handles=entries, loc="outside upper left", ncols=LEGEND_COLUMNS)
        figure.draw_without_rendering()  # adjustText needs to know where the marks are
        for row, study in zip(panels, studies, strict=True):
            for panel, kind in zip(row, kinds, strict=False):
                label_threats(panel, study, [threat for threat in study.threats if threat.knowledge == kind])
        return png(figure)


def draw(panel: Axes, study: Results, threats: list[Threat]) -> None:
    """Draw the threats of one kind of attacker."""
    looks = looks_of(study.methods)
    for threat in threats:
        ends = sorted((line.clean_accuracy, line.accuracy) for line in study.of_threat(threat))
        panel.plot(*zip(*ends, strict=True), color="#b8bfc7", linewidth=0.9, zorder=1)
        for method in study.methods:
            line, colour = study.line(threat, method), looks[method.name].colour
            panel.hlines(line.accuracy, *wilson(line.clean_accuracy, line.n), color=colour, linewidth=1.2)
            panel.vlines(line.clean_accuracy, line.low, line.high, color=colour, linewidth=1.2)
            mark = looks[method.name].mark(hollow=is_noise(study, line))
            panel.plot(line.clean_accuracy, line.accuracy, **mark, zorder=4 if method == study.reference else 3)
    percent_axis(panel, "x", "y")
    panel.set(xlabel="clean accuracy in %")
    panel.grid(**GRID)


def label_threats(panel: Axes, study: Results, threats: list[Threat]) -> None:
    """Write the name of each threat to the left of its marks, clear of other names and marks."""
    marks = [(line.clean_accuracy, line.accuracy) for threat in threats for line in study.of_threat(threat)]
    leftmost = [min((line.clean_accuracy, line.accuracy) for line in study.of_threat(one)) for one in threats]
    names = [
        panel.text(clean - 0.1, robust, threat.name, fontsize=7, ha="right", va="center")
        for threat, (clean, robust) in zip(threats, leftmost, strict=True)
    ]
    x, y = zip(*marks, strict=True)
    targets = dict(zip(("target_x", "target_y"), zip(*leftmost, strict=True), strict=True))
    adjust_text(names, x, y, ax=panel, **targets, **LABELS)
