"""Distance and direction in which text features moved from those of the reference."""

from dataclasses import dataclass

import numpy as np

from stages.models.logits import cosines

SMALLEST = 1e-12  # a length below which a move has no direction


@dataclass(frozen=True)
class Drift:
    """Moves of the text features of K classes, each (K,)."""

    cosine: np.ndarray  # between each feature before and after
    towards: np.ndarray  # the other class whose feature of before it approached most
    gain: np.ndarray  # by how much the cosine to that feature has grown; negative if it moved away from all of them
    common: np.ndarray  # cosine between its move and the mean move of all classes: 1 where all move alike


def drift(before: np.ndarray, after: np.ndarray) -> Drift:
    """Compare text features.

    Args:
        before: (K, D), unit norm, K at least 2.
        after: Of the same classes, (K, D), unit norm.
    """
    before, after = before.astype(np.float64), after.astype(np.float64)
    gains = cosines(after, before) - cosines(before, before)  # (K, K)
    np.fill_diagonal(gains, -np.inf)
    towards = gains.argmax(1)
    moves = after - before
    mean = moves.mean(0)
    lengths = np.linalg.norm(moves, axis=1) * np.linalg.norm(mean)
    return Drift(
        cosine=(before * after).sum(1),
        towards=towards,
        gain=np.take_along_axis(gains, towards[:, None], axis=1)[:, 0],
        common=moves @ mean / np.maximum(lengths, SMALLEST),
    )
