"""Principal components: the plane in which unit features vary most, and the projection of others onto it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plane:
    """A plane through the mean of a cloud."""

    mean: np.ndarray  # (D,)
    axes: np.ndarray  # (2, D), orthonormal: the two directions of the largest variance, the largest first

    def coordinates(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project points (N, D): coordinates (N, 2), and their full distances (N,) from the mean."""
        away = points - self.mean
        return away @ self.axes.T, np.linalg.norm(away, axis=1)


def principal_plane(points: np.ndarray) -> Plane:
    """Fit the plane to points (N, D), N and D at least 2; the largest entry of an axis is positive."""
    mean = points.mean(0)
    axes = np.linalg.svd(points - mean, full_matrices=False)[2][:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1)
    return Plane(mean, axes * np.sign(largest))


def unit(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) at length 1, float64."""
    features = features.astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def first_of_each(labels: np.ndarray, most: int) -> np.ndarray:
    """Return the first image of each class, then the second of each: at most `most` places in labels (N,)."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(labels), int)
    ranks[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.lexsort((labels, ranks))[:most]
