"""The token nearest to each context vector, its distance, and that of the token nearest to a random vector."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.style import GRID, Look, as_png, looks_of, short
from stages.report.vocabulary import Method

COLUMNS = 3
INCHES_PER_VECTOR = 0.19


@as_png
def tokens_figure(tables: dict[str, pd.DataFrame], methods: list[Method]) -> Figure:
    """Draw a panel per data set and method: the first tuning seed, of several contexts the first.

    The tables are those of `interpretation.token_table.nearest_tokens_table`, by data set.
    """
    drawn = {dataset: drawn_lines(table) for dataset, table in tables.items()}
    shown = {name: [one for one in methods if one.name in set(table["method"])] for name, table in drawn.items()}
    lines = {dataset: -(-len(some) // COLUMNS) for dataset, some in shown.items()}
    heights = [lines[dataset] * (INCHES_PER_VECTOR * table["position"].max() + 0.9) for dataset, table in drawn.items()]
    figure = Figure(figsize=(11.6, sum(heights) + 0.4), layout="constrained")
    blocks = figure.subfigures(len(drawn), squeeze=False, height_ratios=heights).flat
    for block, (dataset, table) in zip(blocks, drawn.items(), strict=True):
        panels = list(block.subplots(lines[dataset], COLUMNS, squeeze=False, sharex=True).flat)
        for panel in panels[len(shown[dataset]) :]:
            panel.set_axis_off()
        for panel, method in zip(panels, shown[dataset], strict=False):
            part = table[table["method"] == method.name]
            draw_tokens(panel, part, looks_of(methods)[method.name])
            owner = part["class"].iloc[0]
            panel.set_title(f"{dataset}: {method.label}" + (f"\nthe context of “{short(owner)}”" if owner else ""))
        panels[0].set_xlim(0)
        panels[0].xaxis.set_major_locator(MaxNLocator(4))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right")
    return figure


def drawn_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Return the nearest tokens by distance, of the first tuning seed and each method's first context."""
    nearest = (table["measure"] == "euclidean") & (table["rank"] == 1) & (table["seed"] == 0)
    first = table.groupby("method")["class"].transform("first")  # empty where the context is shared
    return table[nearest & (table["class"] == first)]


def draw_tokens(panel: Axes, lines: pd.DataFrame, look: Look) -> None:
    """Draw the vectors of one method from top to bottom."""
    panel.plot(lines["random"], lines["position"], "|k", markersize=8, label="a random vector of the same size")
    panel.plot(lines["value"], lines["position"], **look.mark(), clip_on=False)
    words = lines[["position", "word", "start_word"]].itertuples(index=False)
    names = [f"{at}  “{short(word)}”, “{short(start)}”" for at, word, start in words]
    panel.set_yticks(lines["position"], names, fontsize=8)
    panel.set_ylim(lines["position"].max() + 0.6, 0.4)
    panel.set(ylabel="context vector", xlabel="Euclidean distance")
    panel.grid(axis="x", **GRID)
