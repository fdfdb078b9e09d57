"""Clean accuracy against robust accuracy, for each method and threat."""

from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.comparison import is_noise
from stages.report.statistics import wilson
from stages.report.style import GRID, LABELS, as_png, attacker_panels, looks_of, percent_axis
from stages.report.tables import Results
from stages.report.vocabulary import Threat


@as_png
def tradeoff_figure(studies: list[Results]) -> Figure:
    """Draw one line of panels per data set, one for each kind of attacker; crosses are 95 % Wilson intervals."""
    hollow = "robust accuracy within noise"
    figure, places = attacker_panels(studies, inches=3.9, columns=3, hollow=hollow)
    for place in places:
        draw(*place)
    figure.draw_without_rendering()  # adjustText needs to know where the marks are
    for place in places:
        label_threats(*place)
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
