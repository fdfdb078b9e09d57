"""Paired exact tests of two methods on the same images, corrected for the number of tests."""

import numpy as np
import pandas as pd
from scipy.special import bdtr

LEVEL = 0.05  # a corrected p below it is a difference
DIGITS_OF_P = 4  # significant ones


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Return the two-sided p of McNemar's exact test.

    Only images that one method classifies correctly and the other does not count; without a difference either of the
    two is as likely. Of several tuning seeds every one is tested, and the largest p stands: the claim that one method
    is better is made of each tuned prompt, so each must carry it. Requiring all tests keeps the level without a
    correction (Berger 1982, an intersection-union test). Pooling the seeds would count an image several times as if
    independent; a majority over seeds would test an ensemble that is not deployed. Seeds that point both ways give 1.
    Both masks are (N,), or by tuning seed (S, N) and (T, N), of the same images in the same order.

    Source: McNemar 1947, in the exact form of Fagerland, Lydersen and Laake 2013.
    """
    tails = [one_sided(one, other) for one in np.atleast_2d(first) for other in np.atleast_2d(second)]
    return float(min(1, 2 * np.max(tails, axis=0).min()))


def one_sided(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the p (2,) of `first` being correct as much more often as it is, and as much less often."""
    more, less = np.sum(first & ~second), np.sum(~first & second)
    return bdtr([less, more], more + less, 0.5)


def holm(p: np.ndarray) -> np.ndarray:
    """Correct the p of a family of tests (M,), so that the chance of any false claim among them stays below the level.

    Valid however the tests depend on each other.

    Source: Holm 1979.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def comparisons(robust: dict[str, pd.DataFrame], pairs: list[tuple[str, str]]) -> dict[tuple[str, str, str], float]:
    """Test each difference between two methods; all tests of one study are one family.

    Args:
        robust: id, method, seed, robust, by threat; all methods and seeds of a threat classify the same images.
        pairs: A method and what it is compared with.

    Returns:
        The corrected p, to 4 significant digits, by threat, method, and what it is compared with.
    """
    p = {}
    for threat, rows in robust.items():
        correct = rows.pivot(index="id", columns=["method", "seed"], values="robust")
        assert not correct.isna().any(axis=None), "every method and seed classifies the same images"
        for pair in pairs:
            p[threat, *pair] = mcnemar(*(correct[method].to_numpy(bool).T for method in pair))
    corrected = holm(np.array(list(p.values())))
    return {key: float(f"{value:.{DIGITS_OF_P - 1}e}") for key, value in zip(p, corrected, strict=True)}
