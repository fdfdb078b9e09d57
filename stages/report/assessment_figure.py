"""The evaluation under attack: robust accuracy against eps and against steps, by threat."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.assessment import curve
from stages.report.style import GRID, percent_axis, png, styled
from stages.report.tables import Results
from stages.report.vocabulary import Method, Threat

CURVES = {
    "noise": ("#555555", "o--", "random noise"),
    "pgd": ("#0072B2", "D-", "adaptive PGD, cross-entropy"),
    "margin": ("#E69F00", "s:", "adaptive PGD, margin"),
}
POINTS = {"autoattack": ("#D55E00", "*", 13, "AutoAttack"), "square": ("#009E73", "P", 4, "Square after PGD")}
METHODS = {"feature_pgd": ("#CC79A7", "^", "oblivious PGD"), "transfer": ("#56B4E9", "v", "transfer")}


def assessment_figure(measured: dict[str, pd.DataFrame], studies: list[Results], method: Method) -> bytes:
    """Draw one line of panels per data set.

    Args:
        measured: The measurements of each data set, see `assessment.checks_of`.
        studies: The accuracies of these data sets; what the oblivious threats leave is marked, too.
        method: The method that was assessed.

    Returns:
        A PNG: robust accuracy against eps on the left, against the number of steps on the right.
    """
    with styled():
        figure = Figure(figsize=(7.5, 2.7 * len(measured) + 0.6), layout="constrained")
        panels = figure.subplots(len(measured), 2, squeeze=False, sharey=True)
        for (left, right), study in zip(panels, studies, strict=True):
            table = measured[study.title]
            oblivious = [threat for threat in study.threats if threat.knowledge == "oblivious"]
            draw_by_eps(left, table, [(threat, study.line(threat, method).accuracy) for threat in oblivious])
            for attack in ("pgd", "margin"):
                by_steps = curve(table, attack, "steps")
                colour, style, _ = CURVES[attack]
                right.plot(range(len(by_steps)), by_steps, style, color=colour, markersize=4)
            right.set_xticks(range(len(by_steps)), by_steps.index)
            title = f"{study.title}, {method.label}"
            left.set(title=title, xlabel="eps in 1/255", ylabel="robust accuracy in %")
            right.set(xlabel=f"steps of PGD, eps {at_eps(table)}/255")
            for panel in (left, right):
                percent_axis(panel, "y")
                panel.grid(**GRID)
        handles, labels = left.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique, loc="outside upper center", ncols=4)
        return png(figure)


def draw_by_eps(panel: Axes, table: pd.DataFrame, oblivious: list[tuple[Threat, float]]) -> None:
    """Draw robust accuracy against eps: curves of what was tried at each eps, marks of what was tried at some."""
    curves = {attack: curve(table, attack, "eps") for attack in CURVES}
    ticks = sorted({*(eps for by_eps in curves.values() for eps in by_eps.index), *(one.eps for one, _ in oblivious)})
    for attack, (colour, style, label) in CURVES.items():
        places = [ticks.index(eps) for eps in curves[attack].index]
        panel.plot(places, curves[attack], style, color=colour, label=label, markersize=4)
    values = table.set_index("measure")["value"]
    left = {
        "autoattack": values["autoattack"],
        "square": curves["pgd"][at_eps(table)] - values["square_gain"],
    }
    for attack, (colour, marker, size, label) in POINTS.items():
        place = ticks.index(at_eps(table))
        panel.plot(place, left[attack], marker, color=colour, label=label, markersize=size)
    for threat, accuracy in oblivious:
        colour, marker, label = METHODS[threat.attack["method"]]
        panel.plot(ticks.index(threat.eps), accuracy, marker, color=colour, label=label, markersize=6)
    panel.set_xticks(range(len(ticks)), [f"{eps:g}" for eps in ticks])


def at_eps(measured: pd.DataFrame) -> int:
    """Return the eps at which attacks are compared with each other."""
    return int(measured.loc[measured["measure"] == "square_gain", "eps"].iloc[0])
