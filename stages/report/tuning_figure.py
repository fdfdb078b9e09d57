"""The tuning curves, loss beside accuracy."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.style import GRID, as_png, legend_inches, looks_of, percent_axis
from stages.report.vocabulary import Method

COLUMNS = 4


@as_png
def tuning_figure(table: pd.DataFrame, datasets: list[str], methods: list[Method]) -> Figure:
    """Draw one line of panels per data set from a `tables.tuning_table`: mean and standard deviation over the seeds."""
    height = 2.6 * len(datasets) + legend_inches(methods, COLUMNS)
    figure = Figure(figsize=(7.5, height), layout="constrained")
    panels = figure.subplots(len(datasets), 2, squeeze=False)
    for (left, right), dataset in zip(panels, datasets, strict=True):
        curves = table[table["dataset"] == dataset]
        draw_curves(left, curves, "loss", methods)
        draw_curves(right, curves, "accuracy", methods)
        left.set(title=f"{dataset}, on what each method is tuned on", ylabel="cross-entropy")
        left.set_ylim(bottom=0)
        percent_axis(right, "y")
        right.set_ylabel("accuracy in %")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=COLUMNS)
    return figure


def draw_curves(panel: Axes, curves: pd.DataFrame, column: str, methods: list[Method]) -> None:
    """Draw mean and spread of one column for each tuned method."""
    for method, look in zip(methods, looks_of(methods).values(), strict=True):
        curve = curves[curves["method"] == method.name]
        if curve.empty:
            continue
        mean, spread = curve[column], curve[f"{column}_std"].fillna(0)
        panel.plot(curve["epoch"], mean, look.line, color=look.colour, label=method.label)
        panel.fill_between(curve["epoch"], mean - spread, mean + spread, color=look.colour, alpha=0.2, linewidth=0)
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(**GRID)
