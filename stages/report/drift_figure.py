"""Cosine maps: how near the text features of the classes lie to each other, before and after tuning."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from stages.report.style import png, short, styled
from stages.report.vocabulary import PROMPTS

MOST_NUMBERS = 10  # classes; more numbers cannot be read
SMALL = 20  # classes, from which names are written smaller


def moves_figure(tables: dict[str, pd.DataFrame]) -> bytes:
    """Four maps per data set, one for each prompt, the first tuning seed.

    Args:
        tables: For each data set, as `mapping.cosines_table` makes it: at most 40 classes.

    Returns:
        A PNG. A cell is the cosine between the text features of two classes, one scale for the maps of a data set.
    """
    with styled():
        figure = Figure(figsize=(9, 7.8 * len(tables)), layout="constrained")
        panels = figure.subplots(2 * len(tables), 2, squeeze=False, sharey="row").reshape(len(tables), len(PROMPTS))
        for block, (dataset, table) in zip(panels, tables.items(), strict=True):
            lowest = table["cosine"].min()
            for panel, (prompt, name) in zip(block, PROMPTS.items(), strict=True):
                cosines, names = map_of(table[table["prompt"] == prompt])
                image = draw_map(panel, cosines, names, lowest)
                panel.set_title(f"{dataset}: {name}, on average {written(mean_of_others(cosines))}")
            figure.colorbar(image, ax=block, shrink=0.4, label="cosine")
        return png(figure)


def map_of(table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """The cosines (K, K) of one prompt, by label, and the class names."""
    cosines = table.pivot(index="label", columns="other_label", values="cosine").to_numpy()
    names = table.drop_duplicates("label").sort_values("label")["class"]
    return cosines, names.tolist()


def mean_of_others(cosines: np.ndarray) -> float:
    """The mean cosine between different classes."""
    return float(cosines[~np.eye(len(cosines), dtype=bool)].mean())


def written(cosine: float) -> str:
    """Two digits, zero without a sign."""
    return f"{round(cosine, 2) + 0:.2f}"


def draw_map(panel: Axes, cosines: np.ndarray, names: list[str], lowest: float) -> AxesImage:
    """Draws one map, with its numbers if they can be read."""
    image = panel.imshow(cosines, cmap="Blues", vmin=lowest, vmax=1)
    size = 8 if len(names) < SMALL else 5.5
    labels = [short(name) for name in names]
    panel.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
    panel.set_yticks(range(len(names)), labels, fontsize=size)
    if len(names) <= MOST_NUMBERS:
        middle = (1 + lowest) / 2
        for (row, column), cosine in np.ndenumerate(cosines):
            if row != column:
                colour = "white" if cosine > middle else "black"
                panel.text(column, row, written(cosine), ha="center", va="center", fontsize=6, color=colour)
    return image
