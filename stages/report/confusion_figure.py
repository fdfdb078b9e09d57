"""Confusion matrices under attack, the reference beside one other method."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from stages.report.style import as_png, heat_map
from stages.report.tables import in_a_page
from stages.report.vocabulary import Method, Threat

MOST_CLASSES = 20  # more names than this cannot be read
MOST_NUMBERS = 12  # nor more numbers


@as_png
def confusion_figure(
    table: pd.DataFrame, class_names: dict[str, list[str]], threat: Threat, methods: list[Method]
) -> Figure:
    """Draw one line of panels per data set; of more than 20 classes, those that the first method misses most."""
    figure = Figure(figsize=(8.4, 4.5 * len(class_names) + 0.2), layout="constrained")
    panels = figure.subplots(len(class_names), len(methods), squeeze=False, sharey="row")
    for row, (dataset, names) in zip(panels, class_names.items(), strict=True):
        shares = [shares_of(table, dataset, method, names) for method in methods]
        chosen = most_missed(shares[0])
        for panel, method, share in zip(row, methods, shares, strict=True):
            image = draw(panel, share[np.ix_(chosen, chosen)], [names[label] for label in chosen])
            panel.set_title(f"{dataset}, {threat.title}: {method.label}")
        row[0].set_ylabel("actual")
        figure.colorbar(image, ax=row, shrink=0.7, label="share of the actual class in %", format="{x:.0f}")
    return figure


def shares_of(table: pd.DataFrame, dataset: str, method: Method, names: list[str]) -> np.ndarray:
    """Return the confusion matrix (K, K) in percent of the actual class; a class without images is a row of zeros."""
    part = table[(table["dataset"] == dataset) & (table["method"] == method.name)]
    counts = part.pivot(index="actual", columns="predicted", values="count")
    counts = counts.reindex(index=in_a_page(names), columns=in_a_page(names)).fillna(0).to_numpy()
    return 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)


def most_missed(shares: np.ndarray) -> np.ndarray:
    """Return the labels to show, in order: at most 20, those with the largest share of misses."""
    missed = shares.sum(1) - np.diag(shares)
    return np.sort(np.argsort(-missed, kind="stable")[:MOST_CLASSES])


def draw(panel: Axes, shares: np.ndarray, names: list[str]) -> AxesImage:
    """Draw one matrix, with its numbers if they can be read."""
    image = heat_map(panel, shares, names, low=0, high=100, size=8)
    panel.set_xlabel("predicted")
    if len(names) <= MOST_NUMBERS:
        for (actual, predicted), share in np.ndenumerate(shares):
            if share >= 0.5:
                colour = "white" if share > 60 else "black"
                panel.text(predicted, actual, f"{share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    return image
