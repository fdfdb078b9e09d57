"""The evaluation under attack: robust accuracy against eps and against steps, by threat."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.assessment import at_eps, curve
from stages.report.style import GRID, as_png, percent_axis
from stages.report.tables import Results
from stages.report.vocabulary import Method

CURVES = {"noise": ("#555555", "o--", "random noise"), "pgd": ("#0072B2", "D-", "adaptive PGD")}
POINTS = {"autoattack": ("#D55E00", "*", 13, "AutoAttack"), "square": ("#009E73", "P", 4, "Square after PGD")}
OBLIVIOUS = {
    "feature_pgd": ("#CC79A7", "^", "oblivious PGD"),
    "handwritten_pgd": ("#E69F00", "s", "PGD on the hand-written prompt"),
    "transfer": ("#56B4E9", "v", "transfer"),
}


@as_png
def assessment_figure(measured: dict[str, pd.DataFrame], studies: list[Results], method: Method) -> Figure:
    """Draw one line of panels per data set: robust accuracy against eps on the left, against steps on the right."""
    figure = Figure(figsize=(7.5, 2.7 * len(measured) + 0.6), layout="constrained")
    panels = figure.subplots(len(measured), 2, squeeze=False, sharey=True)
    for (left, right), study in zip(panels, studies, strict=True):
        table = measured[study.title]
        draw_by_eps(left, table, study, method)
        by_steps = curve(table, "pgd", "steps")
        colour, style, _ = CURVES["pgd"]
        right.plot(range(len(by_steps)), by_steps, style, color=colour, markersize=4)
        right.set_xticks(range(len(by_steps)), by_steps.index)
        left.set(title=f"{study.title}, {method.label}", xlabel="eps in 1/255", ylabel="robust accuracy in %")
        right.set(xlabel=f"steps of PGD, eps {at_eps(table)}/255")
        for panel in (left, right):
            percent_axis(panel, "y")
            panel.grid(**GRID)
    handles, labels = left.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique, loc="outside upper center", ncols=4)
    return figure


def draw_by_eps(panel: Axes, table: pd.DataFrame, study: Results, method: Method) -> None:
    """Draw robust accuracy against eps: curves of what was tried at each eps, marks of what was tried at some."""
    oblivious = [threat for threat in study.threats if threat.knowledge == "oblivious"]
    curves = {attack: curve(table, attack, "eps") for attack in CURVES}
    ticks = sorted({*(eps for by_eps in curves.values() for eps in by_eps.index), *(one.eps for one in oblivious)})
    for attack, (colour, style, label) in CURVES.items():
        places = [ticks.index(eps) for eps in curves[attack].index]
        panel.plot(places, curves[attack], style, color=colour, label=label, markersize=4)
    for attack, (colour, marker, size, label) in POINTS.items():
        place, left = ticks.index(at_eps(table)), curve(table, attack, "steps").iloc[-1]
        panel.plot(place, left, marker, color=colour, label=label, markersize=size)
    for threat in oblivious:
        colour, marker, label = OBLIVIOUS[threat.attack["method"]]
        accuracy = study.line(threat, method).accuracy
        panel.plot(ticks.index(threat.eps), accuracy, marker, color=colour, label=label, markersize=6)
    panel.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
