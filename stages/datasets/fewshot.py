"""Choosing images without regard to their order: by a digest of seed and id, equally many of each class."""

import hashlib
from collections import Counter

import numpy as np


def choose(ids: list[str], labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Chooses `count` of the images at random, see `balanced_ranking`.

    Returns:
        Mask (N,), bool.

    Raises:
        ValueError: If there are fewer.
    """
    if count > len(ids):
        raise ValueError(f"data.test_images: {count} asked for, but there are {len(ids)}; fewer, or `all`, is allowed")
    return np.isin(np.arange(len(ids)), balanced_ranking(ids, labels, seed)[:count])


def few_shot(ids: list[str], labels: np.ndarray, shots: int, *, seed: int) -> np.ndarray:
    """Chooses `shots` images of each class.

    Returns:
        Mask (N,), bool.

    Raises:
        ValueError: If a class has fewer images; the message names its label and count.
    """
    counts = Counter(labels.tolist())
    few = {label: count for label, count in counts.items() if count < shots}
    if few:
        raise ValueError(
            f"data.shots: {shots} asked for, but some classes have fewer images (label: count): {few}; "
            f"at most {min(few.values())}, or `all`, is allowed"
        )
    return np.isin(np.arange(len(ids)), balanced_ranking(ids, labels, seed)[: shots * len(counts)])


def balanced_ranking(ids: list[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """Orders images so that the first n are a class-balanced random draw, for every n.

    One image of each class comes first, then a second of each, and so on; a class that has no more is left out. Of a
    class, and among the classes, the images follow the order of digests that serve nothing else: not that in which
    `Index.part` lays them into shards. Smaller draws lie in larger ones.

    Returns:
        Positions (N,): the same images in the same order in whatever order they came.
    """
    ranked = ranking([f"draw/{id}" for id in ids], seed)
    seen: Counter[int] = Counter()
    turns = []
    for label in labels[ranked].tolist():
        turns.append(seen[label])
        seen[label] += 1
    return ranked[np.argsort(turns, kind="stable")]


def ranking(ids: list[str], seed: int) -> np.ndarray:
    """Positions of the ids (N,) in the order of their digests."""
    return np.argsort([digest_of(id, seed=seed) for id in ids], kind="stable")


def digest_of(id: str, *, seed: int) -> str:
    """Return the sha256 that decides about an image."""
    return hashlib.sha256(f"{seed}/{id}".encode()).hexdigest()
