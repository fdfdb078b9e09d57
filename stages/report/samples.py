"""Which images the gallery shows: chosen by label, never by outcome."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from stages.report.gallery import Attacked, Sample
from stages.report.style import short
from stages.report.tables import Rows
from stages.report.vocabulary import CLEAN, PROMPTS, Threat

PixelsOf = Callable[[Threat, list[str]], np.ndarray]
JUDGES = {"oblivious": ("hand", "advpt"), "adaptive": ("advpt",)}  # an adaptive image was crafted through AdvPT alone


def sample_of(
    dataset: str, rows: Rows, class_names: list[str], seen: list[Threat], count: int, *, pixels_of: PixelsOf
) -> Sample:
    """A few test images, clean and under the threats to be seen.

    Args:
        dataset: Its name.
        rows: The rows of every threat.
        class_names: K names, by label.
        seen: The threats to show.
        count: How many images.
        pixels_of: Gives the images (N, H, W, 3), uint8, of a threat and N ids; for an adaptive threat those crafted
            through the first tuning seed of AdvPT.
    """
    examples = examples_of(rows, seen, count)
    ids, names = examples["id"].tolist(), [class_names[label] for label in examples["label"]]
    attacked = [
        Attacked(
            f"{threat.name}\n({threat.knowledge})",
            threat.eps,
            pixels_of(threat, ids),
            verdicts(rows[threat.name], ids, class_names, JUDGES[threat.knowledge]),
        )
        for threat in seen
    ]
    return Sample(dataset, pixels_of(CLEAN, ids), names, attacked)


def examples_of(rows: Rows, seen: list[Threat], count: int) -> pd.DataFrame:
    """The first test image (id, label) of each of the first classes, among the images that every threat attacked."""
    clean = rows[CLEAN.name]
    left = clean[(clean["prompt"] == "hand") & (clean["seed"] == 0)]
    for threat in seen:
        left = left[left["id"].isin(rows[threat.name]["id"])]
    return left.drop_duplicates("label").sort_values("label")[["id", "label"]].head(count)


def verdicts(rows: pd.DataFrame, ids: list[str], class_names: list[str], prompts: tuple[str, ...]) -> list[str]:
    """What the first seed of each prompt takes each image for, one text per image."""
    first = rows[rows["seed"] == 0].set_index(["prompt", "id"])["prediction"]
    return [
        "\n".join(f"{PROMPTS[prompt]}: {short(class_names[first[prompt, id]])}" for prompt in prompts) for id in ids
    ]
