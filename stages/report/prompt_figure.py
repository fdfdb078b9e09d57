"""A pixel prompt as a picture, an image under it, and what it does to the embedding of attacked images."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.style import GRID, as_png

BINS = 40
SERIES = {"attacked": ("the same image, attacked", "#D55E00"), "others": ("images of other classes", "#0072B2")}


class PixelPrompt(NamedTuple):
    """The pixel prompt of the first tuning seed of one method."""

    title: str  # data set and label of the method
    pixels: np.ndarray  # (3, H, W), in units of the pixel range
    effect: pd.DataFrame  # the rows of `interpretation.prompt_effect.effect_table`, with the prompt and without
    image: np.ndarray  # a clean image (H, W, 3), uint8


@as_png
def prompt_figure(prompts: list[PixelPrompt]) -> Figure:
    """Draw one line of panels per prompt: the prompt, an image without and with it, cosines without and with it."""
    figure = Figure(figsize=(9.6, 2.3 * len(prompts) + 0.4), layout="constrained")
    panels = figure.subplots(len(prompts), 5, squeeze=False, width_ratios=[1, 1, 1, 1.5, 1.5])
    for row, prompt in zip(panels, prompts, strict=True):
        largest = np.abs(prompt.pixels).max()
        clean = prompt.image / 255
        pictures = {
            f"{prompt.title}\nthe prompt (±{largest:.2f})": scaled(prompt.pixels),
            "an image": clean,
            "image + prompt\n(clipped here only)": np.clip(clean + prompt.pixels.transpose(1, 2, 0), 0, 1),
        }
        for panel, (title, picture) in zip(row, pictures.items(), strict=False):
            panel.imshow(picture, interpolation="nearest")
            panel.set_title(title)
            panel.set_axis_off()
        for panel, prompted in zip(row[3:], (False, True), strict=True):
            draw_cosines(panel, prompt.effect, prompted=prompted)
        row[4].sharex(row[3])
    return figure


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Return a prompt (3, H, W) as a picture (H, W, 3) in [0, 1]: grey is zero, the largest entry black or white."""
    largest = np.abs(pixels).max()
    return 0.5 + pixels.transpose(1, 2, 0) / (2 * largest if largest else 1)


def draw_cosines(panel: Axes, effect: pd.DataFrame, *, prompted: bool) -> None:
    """Draw the distributions of the cosines with the prompt or without it."""
    rows = effect[effect["prompted"] == prompted]
    low = min(effect[list(SERIES)].min().min(), 0)
    for column, (label, colour) in SERIES.items():
        bins = np.linspace(low, 1, BINS + 1).tolist()
        panel.hist(rows[column], bins, color=colour, alpha=0.7, label=f"{label}: mean {rows[column].mean():z.2f}")
    title = "with the prompt" if prompted else "without the prompt"
    panel.set(
        title=title,
        xlabel="cosine to the clean image",
        xticks=[0, 0.5, 1],
        yticks=[],
        ylim=(0, 1.35 * panel.get_ylim()[1]),
    )
    panel.legend(loc="upper left", fontsize=6.5)
    panel.grid(**GRID)
