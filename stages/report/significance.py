"""Is one prompt better than another on the same images? A paired exact test, corrected for how often it is asked."""

import numpy as np
import pandas as pd
from scipy.special import bdtr

LEVEL = 0.05  # a corrected p below it is a difference
DIGITS_OF_P = 4  # significant ones
PAIRS = (  # a tuned prompt, what it is compared with
    ("coop", "hand"),
    ("advpt", "hand"),
    ("advpt", "coop"),
    ("advpt_refreshed", "hand"),
    ("advpt_refreshed", "advpt"),
)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's exact test, two-sided: could both be right equally often, had other images been drawn?

    Only images that one gets right and the other wrong count; without a difference either is as likely to be the one
    that is right. Of several tuning seeds every one is tested, and the largest p stands: the claim that one is better
    is made of each tuned prompt, so each must carry it. Requiring all tests keeps the level without a correction
    (Berger 1982, an intersection-union test). Pooling the seeds would count an image several times as if independent;
    a majority over seeds would test an ensemble that nobody deploys. Seeds that point both ways give 1.

    Args:
        first: Which images are right (N,), or by tuning seed (S, N); bool.
        second: The same for the other, the images in the same order (N,) or (T, N).

    Returns:
        p, in [0, 1]; 1 where nothing speaks for a difference.

    Source: McNemar 1947, in the exact form of Fagerland, Lydersen and Laake 2013.
    """
    tails = [one_sided(one, other) for one in np.atleast_2d(first) for other in np.atleast_2d(second)]
    return float(min(1, 2 * np.max(tails, axis=0).min()))


def one_sided(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """p (2,) of `first` being right as much more often as it is, and as much less often."""
    more, less = np.sum(first & ~second), np.sum(~first & second)
    return bdtr([less, more], more + less, 0.5)


def holm(p: np.ndarray) -> np.ndarray:
    """Corrects the p of a family of tests (M,), so that the chance of any false claim among them stays below the level.

    Valid however the tests depend on each other.

    Source: Holm 1979.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def comparisons(judged: dict[str, pd.DataFrame]) -> dict[tuple[str, str, str], float]:
    """How sure each difference between two prompts is; one family is everything that one study is asked.

    Args:
        judged: id, prompt, seed, robust, by threat; all prompts and seeds of a threat judge the same images.

    Returns:
        The corrected p, to 4 significant digits, by threat, prompt, and what it is compared with, for PAIRS.
    """
    p = {}
    for threat, rows in judged.items():
        right = rows.pivot(index="id", columns=["prompt", "seed"], values="robust")
        assert not right.isna().any(axis=None), "every prompt and seed judges the same images"
        for pair in PAIRS:
            p[threat, *pair] = mcnemar(*(right[prompt].to_numpy(bool).T for prompt in pair))
    corrected = holm(np.array(list(p.values())))
    return {key: float(f"{value:.{DIGITS_OF_P - 1}e}") for key, value in zip(p, corrected, strict=True)}
