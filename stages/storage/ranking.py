"""Orders of images that do not depend on the order in which these come: by a digest of seed and id."""

import hashlib
from collections import Counter

import numpy as np


def balanced_ranking(ids: list[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """Order images so that the first n are a class-balanced random draw, for every n.

    One image of each class comes first, then a second of each, and so on; a class that has no more is left out. Of a
    class, and among the classes, the images follow the order of digests that serve nothing else: not that in which
    `Index.part` lays them into shards. Smaller draws lie in larger ones. The positions (N,) are of the same images in
    the same order in whatever order they came.
    """
    ranked = ranking([f"draw/{id}" for id in ids], seed)
    seen: Counter[int] = Counter()
    turns = []
    for label in labels[ranked].tolist():
        turns.append(seen[label])
        seen[label] += 1
    return ranked[np.argsort(turns, kind="stable")]


def ranking(ids: list[str], seed: int) -> np.ndarray:
    """Return the positions of the ids (N,) in the order of their digests."""
    return np.argsort([digest_of(id, seed=seed) for id in ids], kind="stable")


def digest_of(id: str, *, seed: int) -> str:
    """Return the sha256 that decides about an image."""
    return hashlib.sha256(f"{seed}/{id}".encode()).hexdigest()
