"""The evaluation under attack: robust accuracy against eps and against steps."""

import pandas as pd
from matplotlib.figure import Figure

from stages.report.assessment import curve
from stages.report.style import GRID, PERCENT_TICKS, png, styled

LOOKS = {"pgd": ("#0072B2", "D-", "adaptive PGD"), "noise": ("#555555", "o--", "random noise")}


def assessment_figure(measured: dict[str, pd.DataFrame]) -> bytes:
    """One line of panels per data set.

    Args:
        measured: The measurements of each data set, see `assessment.checks_of`.

    Returns:
        A PNG: robust accuracy against eps on the left, against the number of steps on the right.
    """
    with styled():
        figure = Figure(figsize=(7.5, 2.6 * len(measured) + 0.3), layout="constrained")
        panels = figure.subplots(len(measured), 2, squeeze=False, sharey=True)
        for (left, right), (dataset, table) in zip(panels, measured.items(), strict=True):
            for attack, (colour, style, label) in LOOKS.items():
                by_eps = curve(table, attack, "eps")
                left.plot(range(len(by_eps)), by_eps, style, color=colour, label=label, markersize=4)
            left.set_xticks(range(len(by_eps)), by_eps.index)
            by_steps = curve(table, "pgd", "steps")
            colour, style, label = LOOKS["pgd"]
            right.plot(range(len(by_steps)), by_steps, style, color=colour, markersize=4)
            right.set_xticks(range(len(by_steps)), by_steps.index)
            left.set(title=f"{dataset}, AdvPT", xlabel="eps in 1/255", ylabel="robust accuracy in %", ylim=(0, 1))
            right.set(xlabel=f"steps of PGD, eps {at_eps(table)}/255")
            for panel in (left, right):
                panel.set_yticks(*PERCENT_TICKS)
                panel.grid(**GRID)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return png(figure)


def at_eps(measured: pd.DataFrame) -> int:
    """The eps at which attacks are compared with each other."""
    return int(measured.loc[measured["measure"] == "square_gain", "eps"].iloc[0])
