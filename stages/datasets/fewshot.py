"""Choosing images without regard to their order: by a digest of seed and id."""

import hashlib
from collections import Counter

import numpy as np


def choose(ids: list[str], count: int, *, seed: int) -> np.ndarray:
    """Chooses `count` of the images at random, the same ones in whatever order they come.

    Returns:
        Mask (N,), bool.

    Raises:
        ValueError: If there are fewer.
    """
    if count > len(ids):
        raise ValueError(f"data.test_images: {count} asked for, but there are {len(ids)}; fewer, or `all`, is allowed")
    return np.isin(np.arange(len(ids)), ranking(ids, seed)[:count])


def few_shot(ids: list[str], labels: np.ndarray, shots: int, *, seed: int) -> np.ndarray:
    """Chooses `shots` images of each class.

    Returns:
        Mask (N,), bool.

    Raises:
        ValueError: If a class has fewer images; the message names its label and count.
    """
    few = {int(label): count for label, count in Counter(labels.tolist()).items() if count < shots}
    if few:
        raise ValueError(
            f"data.shots: {shots} asked for, but some classes have fewer images (label: count): {few}; "
            f"at most {min(few.values())}, or `all`, is allowed"
        )
    taken: Counter[int] = Counter()
    chosen = np.zeros(len(ids), bool)
    for index in ranking(ids, seed):
        taken[labels[index]] += 1
        chosen[index] = taken[labels[index]] <= shots
    return chosen


def ranking(ids: list[str], seed: int) -> np.ndarray:
    """Positions of the ids (N,) in the order of their digests."""
    return np.argsort([hashlib.sha256(f"{seed}/{id}".encode()).hexdigest() for id in ids], kind="stable")
