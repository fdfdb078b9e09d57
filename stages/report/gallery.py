"""Clean images, adversarial images and their difference; images are chosen by label, never by outcome."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from stages.report.style import as_png, short
from stages.report.tables import Predictions
from stages.report.vocabulary import CLEAN, Method, Threat

INCHES = 1.42  # side of one picture
HEAD: dict[str, Any] = {"loc": "center", "fontsize": 8}  # above a column of pictures


class Sample(NamedTuple):
    """A few test images (N, H, W, 3), uint8, of one data set, clean and under each shown threat."""

    dataset: str
    pixels: np.ndarray
    names: list[str]  # the class name of each image
    attacked: list[tuple[Threat, np.ndarray, list[str]]]  # with what methods take each image for, N texts


def sample_of(
    dataset: str,
    predictions: Predictions,
    class_names: list[str],
    threats: list[Threat],
    methods: list[Method],
    *,
    count: int,
    pixels_of: Callable[[Threat, list[str]], np.ndarray],
) -> Sample:
    """Choose a few test images, clean and under some threats, with the predictions of some methods.

    An adaptive threat attacked the last method, in its first tuning seed: only its predictions are shown there, and
    `pixels_of` returns the images (N, H, W, 3), uint8, of a threat and N ids.
    """
    examples = examples_of(predictions, threats, count)
    ids, attacked = examples["id"].tolist(), []
    for threat in threats:
        judges = methods[-1:] if threat.knowledge == "adaptive" else methods
        texts = predicted(predictions[threat.name], ids, class_names, judges)
        attacked.append((threat, pixels_of(threat, ids), texts))
    return Sample(dataset, pixels_of(CLEAN, ids), [class_names[label] for label in examples["label"]], attacked)


def examples_of(predictions: Predictions, threats: list[Threat], count: int) -> pd.DataFrame:
    """Return the first test image (id, label) of each of the first classes, of those that every threat attacked."""
    examples = predictions[CLEAN.name].drop_duplicates("id")
    for threat in threats:
        examples = examples[examples["id"].isin(predictions[threat.name]["id"])]
    return examples.drop_duplicates("label").sort_values("label")[["id", "label"]].head(count)


def predicted(rows: pd.DataFrame, ids: list[str], class_names: list[str], methods: list[Method]) -> list[str]:
    """Return what the first seed of each method takes each image for, one text per image."""
    first = rows[rows["seed"] == 0].set_index(["method", "id"])["prediction"]
    return [
        "\n".join(f"{method.label}: {short(class_names[first[method.name, id]])}" for method in methods) for id in ids
    ]


@as_png
def gallery(samples: list[Sample]) -> Figure:
    """Draw a line of pictures per image: clean, then adversarial and difference for each threat."""
    lines = [len(sample.pixels) for sample in samples]
    columns = 1 + 2 * max(len(sample.attacked) for sample in samples)
    size = (max(INCHES * columns, 4), sum(lines) * (INCHES + 0.34) + 0.75 * len(samples))
    figure = Figure(figsize=size, layout="constrained")
    blocks = figure.subfigures(len(samples), squeeze=False, height_ratios=lines).flat
    for block, sample in zip(blocks, samples, strict=True):
        draw_sample(block, sample, columns)
    return figure


def draw_sample(block: SubFigure, sample: Sample, columns: int) -> None:
    panels = block.subplots(len(sample.pixels), columns, squeeze=False)
    block.suptitle(f"{sample.dataset}: the first test image of some classes", x=0.01, ha="left", fontweight="bold")
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, clean, name in zip(panels[:, 0], sample.pixels, sample.names, strict=True):
        show(panel, clean, below=short(name))
    panels[0, 0].set_title("clean", **HEAD)
    for (threat, pixels, texts), left, right in zip(sample.attacked, panels.T[1::2], panels.T[2::2], strict=False):
        left[0].set_title(f"{threat.name}\n({threat.knowledge})", **HEAD)
        right[0].set_title(f"difference\nblack −{threat.eps:g}, white +{threat.eps:g}", **HEAD)
        for line, (clean, adversarial, text) in enumerate(zip(sample.pixels, pixels, texts, strict=True)):
            show(left[line], adversarial, below=text)
            show(right[line], scaled_difference(clean, adversarial, threat.eps))


def scaled_difference(clean: np.ndarray, adversarial: np.ndarray, eps: float) -> np.ndarray:
    """Return the signed difference of two uint8 images, each channel in [0, 1]: 0.5 is none, 0 is -eps, 1 is +eps."""
    difference = adversarial.astype(float) - clean.astype(float)
    return np.clip(0.5 + difference / (2 * max(eps, 1)), 0, 1)


def show(panel: Axes, image: np.ndarray, *, below: str = "") -> None:
    """Show one picture, its pixels as they are, and a text below it."""
    panel.imshow(image, interpolation="nearest")
    panel.text(0.5, -0.04, below, transform=panel.transAxes, ha="center", va="top", fontsize=7)
