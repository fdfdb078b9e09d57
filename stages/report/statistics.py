"""From predictions, one row per example, to accuracies with their uncertainty."""

import numpy as np
import pandas as pd

Z95 = 1.959963984540054  # the standard normal lies within ±Z95 with probability 0.95
EXAMPLE = ["id", "method", "seed"]
DIGITS = 6


def robust_rows(clean: pd.DataFrame, attacked: pd.DataFrame) -> pd.DataFrame:
    """Add the column `robust`: correct on the clean image and under attack, for the same method and seed.

    Args:
        clean: Rows of the threat `clean`: id, method, seed, correct.
        attacked: Rows of any threat with the same columns; it may hold a subset of the images and seeds.

    Raises:
        ValueError: If an attacked example has no clean row, or an example is there twice.
    """
    for rows in (clean, attacked):
        if rows.duplicated(EXAMPLE).any():
            raise ValueError(f"the rows of {rows['threat'].iloc[0]!r} hold an example twice; run `dvc repro`")
    without_attack = clean[[*EXAMPLE, "correct"]].rename(columns={"correct": "correct_clean"})
    joined = attacked.merge(without_attack, on=EXAMPLE, how="left")
    if joined["correct_clean"].isna().any():
        raise ValueError(f"threat {attacked['threat'].iloc[0]!r} has examples without a clean row; run `dvc repro`")
    return joined.assign(robust=joined["correct"] & joined["correct_clean"].astype(bool))


def accuracies(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each method: the mean of `robust` over images and tuning seeds.

    Args:
        rows: method, seed, robust; every seed of a method classifies the same number of images.

    Returns:
        One row per method, in the order of the rows: method, accuracy, low, high, std, n, seeds. [low, high] is the
        95 % Wilson interval for n images at this accuracy: it covers the sampling of test images, not the tuning
        seeds. std is the sample standard deviation over the tuning seeds, NaN when there is one. n counts images.
    """
    per_seed = rows.groupby(["method", "seed"], sort=False)["robust"].agg(["mean", "size"])
    methods = per_seed.groupby("method", sort=False)
    assert (methods["size"].nunique() == 1).all(), "every seed of a method classifies the same images"
    found = methods.agg(accuracy=("mean", "mean"), std=("mean", "std"), n=("size", "first"), seeds=("size", "size"))
    found["low"], found["high"] = wilson(found["accuracy"].to_numpy(), found["n"].to_numpy())
    found = found.reset_index()[["method", "accuracy", "low", "high", "std", "n", "seeds"]]
    return found.round(DIGITS)


def clean_accuracies(rows: pd.DataFrame) -> pd.Series:
    """Return the clean accuracy of each method on the images and with the tuning seeds of these rows.

    Args:
        rows: method, seed, correct_clean, as `robust_rows` makes them.
    """
    per_seed = rows.astype({"correct_clean": float}).groupby(["method", "seed"])["correct_clean"].mean()
    return per_seed.groupby("method").mean().round(DIGITS)


def wilson(share: np.ndarray | float, n: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends, in [0, 1], of the 95 % Wilson score interval of a share found among n independent examples.

    The share may be a mean over tuning seeds, which is no whole number of n: scipy's interval takes none such.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4.
    """
    shrink = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
