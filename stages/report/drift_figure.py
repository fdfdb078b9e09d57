"""Cosine maps: how similar the text features of the classes are, before and after tuning."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from stages.report.style import as_png, heat_map
from stages.report.vocabulary import Method

MOST_NUMBERS = 10  # classes; more numbers cannot be read
SMALL = 20  # classes, from which names are written smaller
MOST_NAMES = 40  # classes; a larger map has no names, which are in the table
COLUMNS = 2


@as_png
def drift_figure(tables: dict[str, pd.DataFrame], methods: list[Method]) -> Figure:
    """Draw one map per data set and method, for the first tuning seed; one scale for the maps of a data set.

    The tables are those of `interpretation.tables.cosines_table`, by data set.
    """
    drawn = {name: [one for one in methods if one.name in set(table["method"])] for name, table in tables.items()}
    lines = {dataset: -(-len(some) // COLUMNS) for dataset, some in drawn.items()}
    figure = Figure(figsize=(9, 3.9 * sum(lines.values())), layout="constrained")
    blocks = figure.subfigures(len(tables), squeeze=False, height_ratios=list(lines.values())).flat
    for block, (dataset, table) in zip(blocks, tables.items(), strict=True):
        panels = list(block.subplots(lines[dataset], COLUMNS, squeeze=False, sharey="row").flat)
        for panel in panels[len(drawn[dataset]) :]:
            panel.set_axis_off()
        for panel, method in zip(panels, drawn[dataset], strict=False):
            cosines, names = map_of(table[table["method"] == method.name])
            image = draw_map(panel, cosines, names, table["cosine"].min())
            panel.set_title(f"{dataset}: {method.label}, on average {rounded(mean_of_others(cosines))}")
        block.colorbar(image, ax=list(block.axes), shrink=0.8 / lines[dataset], label="cosine")
    return figure


def map_of(table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return the cosines (K, K) of one method, by label, and the class names."""
    cosines = table.pivot(index="label", columns="other_label", values="cosine").to_numpy()
    names = table.drop_duplicates("label").sort_values("label")["class"]
    return cosines, names.tolist()


def mean_of_others(cosines: np.ndarray) -> float:
    """Return the mean cosine between different classes."""
    return float(cosines[~np.eye(len(cosines), dtype=bool)].mean())


def rounded(cosine: float) -> str:
    """Return two digits, zero without a sign."""
    return f"{round(cosine, 2) + 0:.2f}"


def draw_map(panel: Axes, cosines: np.ndarray, names: list[str], lowest: float) -> AxesImage:
    """Draw one map, with its names and numbers if they can be read."""
    shown = names if len(names) <= MOST_NAMES else []
    image = heat_map(panel, cosines, shown, low=lowest, high=1, size=8 if len(names) < SMALL else 5.5)
    if len(names) <= MOST_NUMBERS:
        for (row, column), cosine in np.ndenumerate(cosines):
            if row != column:
                colour = "white" if cosine > (1 + lowest) / 2 else "black"
                panel.text(column, row, rounded(cosine), ha="center", va="center", fontsize=6, color=colour)
    return image
