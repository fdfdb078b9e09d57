"""The plane in which a cloud of unit features spreads most, and where other features fall in it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plane:
    """A plane through the mean of a cloud.

    Attributes:
        mean: (D,).
        axes: (2, D), orthonormal: the two directions of the largest variance, the largest first.
    """

    mean: np.ndarray
    axes: np.ndarray

    def coordinates(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points (N, D) fall: coordinates (N, 2), and their full distances (N,) from the mean."""
        away = points - self.mean
        return away @ self.axes.T, np.linalg.norm(away, axis=1)


def principal_plane(points: np.ndarray) -> Plane:
    """Fits the plane to points (N, D), N and D at least 2; the largest entry of an axis is positive."""
    mean = points.mean(0)
    axes = np.linalg.svd(points - mean, full_matrices=False)[2][:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1)
    return Plane(mean, axes * np.sign(largest))


def unit(features: np.ndarray) -> np.ndarray:
    """Features (N, D) at length 1, float64."""
    features = features.astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def first_of_each(labels: np.ndarray, most: int) -> np.ndarray:
    """The first image of each class, then the second of each, and so on: at most `most` places in labels (N,)."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    turns = np.empty(len(labels), int)
    turns[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.lexsort((labels, turns))[:most]
