"""Clean accuracy against robust accuracy, for each method and threat."""

from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.comparison import is_noise
from stages.report.statistics import wilson
from stages.report.style import GRID, GROUNDS, LABELS, add_legend, as_png, legend_inches, looks_of, percent_axis
from stages.report.tables import Results
from stages.report.vocabulary import Threat

COLUMNS = 3


@as_png
def tradeoff_figure(studies: list[Results]) -> Figure:
    """Draw one line of panels per data set, one for each kind of attacker; crosses are 95 % Wilson intervals."""
    first = studies[0]
    kinds = list(dict.fromkeys(threat.knowledge for threat in first.threats if threat.attack)) or ["clean"]
    height = 3.9 * len(studies) + legend_inches(first.methods, COLUMNS)
    figure = Figure(figsize=(8.4, height), layout="constrained")
    panels = figure.subplots(len(studies), len(kinds), squeeze=False, sharey=True)
    drawn = []
    for row, study in zip(panels, studies, strict=True):
        for panel, kind in zip(row, kinds, strict=True):
            threats = [threat for threat in study.threats if threat.knowledge == kind and threat.attack]
            draw(panel, study, threats)
            panel.set(title=f"{study.title}, {kind}", facecolor=GROUNDS[kind])
            drawn.append((panel, study, threats))
        row[0].set_ylabel("robust accuracy in %")
    hollow = f"robust accuracy within noise of {first.reference.label}"
    add_legend(figure, first.methods, columns=COLUMNS, hollow=hollow)
    figure.draw_without_rendering()  # adjustText needs to know where the marks are
    for panel, study, threats in drawn:
        label_threats(panel, study, threats)
    return figure


def draw(panel: Axes, study: Results, threats: list[Threat]) -> None:
    """Draw the threats of one kind of attacker, the marks of each joined."""
    for threat in threats:
        ends = sorted((line.clean_accuracy, line.accuracy) for line in study.of_threat(threat))
        panel.plot(*zip(*ends, strict=True), color="#b8bfc7", linewidth=0.9, zorder=1)
        for line, look in zip(study.of_threat(threat), looks_of(study.methods).values(), strict=True):
            panel.hlines(line.accuracy, *wilson(line.clean_accuracy, line.n), color=look.colour, linewidth=1.2)
            panel.vlines(line.clean_accuracy, line.low, line.high, color=look.colour, linewidth=1.2)
            order = 4 if line.method == study.reference.name else 3
            panel.plot(line.clean_accuracy, line.accuracy, **look.mark(hollow=is_noise(study, line)), zorder=order)
    percent_axis(panel, "x", "y")
    panel.set(xlabel="clean accuracy in %")
    panel.grid(**GRID)


def label_threats(panel: Axes, study: Results, threats: list[Threat]) -> None:
    """Write the name of each threat to the left of its marks, clear of other names and marks."""
    if not threats:
        return
    marks = {one.name: [(line.clean_accuracy, line.accuracy) for line in study.of_threat(one)] for one in threats}
    leftmost = [min(places) for places in marks.values()]
    names = [
        panel.text(clean - 0.1, robust, name, fontsize=7, ha="right", va="center")
        for name, (clean, robust) in zip(marks, leftmost, strict=True)
    ]
    x, y = zip(*(place for places in marks.values() for place in places), strict=True)
    targets = dict(zip(("target_x", "target_y"), zip(*leftmost, strict=True), strict=True))
    adjust_text(names, x, y, ax=panel, **targets, **LABELS)
