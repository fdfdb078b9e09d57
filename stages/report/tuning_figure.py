"""The tuning curves, loss beside accuracy."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.style import COLOURS, GRID, PERCENT_TICKS, png, styled
from stages.report.vocabulary import PROMPTS

TUNED_ON = {"coop": "clean embeddings", "advpt": "the adversarial bank", "advpt_refreshed": "the refreshed bank"}
LINES = {"coop": "--", "advpt": "-", "advpt_refreshed": "-."}


def tuning_figure(table: pd.DataFrame, datasets: list[str]) -> bytes:
    """One line of panels per data set.

    Args:
        table: As `tables.tuning_table` makes it.
        datasets: Their names, from top to bottom.

    Returns:
        A PNG. A line is the mean over the tuning seeds, its band one standard deviation over them.
    """
    with styled():
        figure = Figure(figsize=(7.5, 2.6 * len(datasets) + 0.3), layout="constrained")
        panels = figure.subplots(len(datasets), 2, squeeze=False)
        for (left, right), dataset in zip(panels, datasets, strict=True):
            curves = table[table["dataset"] == dataset]
            draw_curves(left, curves, "loss")
            draw_curves(right, curves, "accuracy")
            left.set(title=f"{dataset}, on what each is tuned on", ylabel="cross-entropy")
            left.set_ylim(bottom=0)
            right.set(ylabel="accuracy in %", ylim=(0, 1))
            right.set_yticks(*PERCENT_TICKS)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return png(figure)


def draw_curves(panel: Axes, curves: pd.DataFrame, column: str) -> None:
    """Draws mean and spread of one column for each tuned prompt."""
    for prompt, tuned_on in TUNED_ON.items():
        curve = curves[curves["prompt"] == prompt]
        mean, spread = curve[column], curve[f"{column}_std"].fillna(0)
        label = f"{PROMPTS[prompt]}, tuned on {tuned_on}"
        panel.plot(curve["epoch"], mean, LINES[prompt], color=COLOURS[prompt], label=label)
        panel.fill_between(curve["epoch"], mean - spread, mean + spread, color=COLOURS[prompt], alpha=0.2, linewidth=0)
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(**GRID)
