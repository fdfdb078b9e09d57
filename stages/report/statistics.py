"""From rows, one per example, to accuracies with their uncertainty."""

import numpy as np
import pandas as pd

Z95 = 1.959963984540054  # the standard normal lies within ±Z95 with probability 0.95
EXAMPLE = ["id", "prompt", "seed"]
DIGITS = 6


def robust_rows(clean: pd.DataFrame, attacked: pd.DataFrame) -> pd.DataFrame:
    """Adds the column `robust`: right on the clean image and right under attack, by the same prompt and seed.

    Args:
        clean: Rows of the threat `clean`: id, prompt, seed, correct.
        attacked: Rows of any threat with the same columns; it may hold a subset of the images and seeds.

    Raises:
        ValueError: If an attacked example has no clean row, or an example is there twice.
    """
    for rows in (clean, attacked):
        if rows.duplicated(EXAMPLE).any():
            raise ValueError(f"the rows of {rows['threat'].iloc[0]!r} hold an example twice; run `dvc repro`")
    was_right = clean[[*EXAMPLE, "correct"]].rename(columns={"correct": "correct_clean"})
    joined = attacked.merge(was_right, on=EXAMPLE, how="left")
    if joined["correct_clean"].isna().any():
        raise ValueError(f"threat {attacked['threat'].iloc[0]!r} has examples without a clean row; run `dvc repro`")
    return joined.assign(robust=joined["correct"] & joined["correct_clean"].astype(bool))


def accuracies(rows: pd.DataFrame) -> pd.DataFrame:
    """The accuracy of each prompt: the mean of `robust` over images and tuning seeds.

    Args:
        rows: prompt, seed, robust; every seed of a prompt judges the same number of images.

    Returns:
        One row per prompt, in the order of the rows: prompt, accuracy, low, high, std, n, seeds. [low, high] is the
        95 % Wilson interval for n images at this accuracy: it covers the sampling of test images, not the tuning
        seeds. std is the sample standard deviation over the tuning seeds, NaN when there is one. n counts images.
    """
    per_seed = rows.groupby(["prompt", "seed"], sort=False)["robust"].agg(["mean", "size"])
    prompts = per_seed.groupby("prompt", sort=False)
    assert (prompts["size"].nunique() == 1).all(), "every seed of a prompt judges the same images"
    found = prompts.agg(accuracy=("mean", "mean"), std=("mean", "std"), n=("size", "first"), seeds=("size", "size"))
    found["low"], found["high"] = wilson(found["accuracy"].to_numpy(), found["n"].to_numpy())
    found = found.reset_index()[["prompt", "accuracy", "low", "high", "std", "n", "seeds"]]
    return found.round(DIGITS)


def clean_accuracies(rows: pd.DataFrame) -> pd.Series:
    """Return the clean accuracy of each prompt on the images and by the tuning seeds of these rows.

    Args:
        rows: prompt, seed, correct_clean, as `robust_rows` makes them.
    """
    per_seed = rows.astype({"correct_clean": float}).groupby(["prompt", "seed"])["correct_clean"].mean()
    return per_seed.groupby("prompt").mean().round(DIGITS)


def wilson(share: np.ndarray | float, n: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % Wilson score interval of a share found among n independent examples.

    Returns:
        Its low and its high end, in [0, 1], of the shape of `share`.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4.
    """
    shrink = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
