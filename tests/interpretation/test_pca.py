"""The principal plane: a plane that is known, numpy's covariance, who is shown."""

import numpy as np
import pytest

from stages.interpretation.pca import first_of_each, principal_plane, unit

AXES = np.array([[2, 1, 0, 2], [-1, 2, 0, 0]]) / np.array([[3], [np.sqrt(5)]])
AWAY = np.array([0, 0, 1, 0])


@pytest.fixture
def flat() -> np.ndarray:
    """200 points in a known plane through (5, 5, 5, 5), three times as wide along the first axis."""
    spread = np.random.default_rng(0).normal(size=(200, 2))
    spread = np.linalg.qr(spread - spread.mean(0))[0] * [3, 1]
    return 5 + spread @ AXES


def test_a_known_plane_is_found(flat):
    plane = principal_plane(flat)
    np.testing.assert_allclose(plane.mean, 5, atol=1e-12)
    np.testing.assert_allclose(np.abs(plane.axes @ AXES.T), np.eye(2), atol=1e-12)
    coordinates, distances = plane.coordinates(flat)
    np.testing.assert_allclose(np.linalg.norm(coordinates, axis=1), distances, atol=1e-12)
    np.testing.assert_allclose((coordinates**2).sum(0), [9, 1], atol=1e-12)
    outside, distance = plane.coordinates(plane.mean[None] + AWAY)
    np.testing.assert_allclose(outside, 0, atol=1e-12)
    assert distance == pytest.approx(1)


def test_the_axes_are_those_of_the_largest_variance():
    """Against the eigenvectors of numpy's covariance."""
    points = np.random.default_rng(1).normal(size=(300, 6)) * [1, 5, 2, 0.5, 3, 1]
    values, vectors = np.linalg.eigh(np.cov(points.T))
    plane = principal_plane(points)
    np.testing.assert_allclose(np.abs((plane.axes * vectors[:, [-1, -2]].T).sum(1)), 1, atol=1e-10)
    coordinates, _ = plane.coordinates(points)
    np.testing.assert_allclose(coordinates.var(0, ddof=1), values[[-1, -2]], rtol=1e-10)


def test_mirrored_axes_are_the_same_axes(flat):
    """Which way an axis points is not left to chance: its largest entry is positive."""
    axes = principal_plane(flat).axes
    assert (axes[[0, 1], np.abs(axes).argmax(1)] > 0).all()
    np.testing.assert_allclose(principal_plane(flat[::-1]).axes, axes, atol=1e-12)


def test_every_class_is_shown_before_any_twice():
    labels = np.array([2, 2, 2, 0, 0, 1])
    assert first_of_each(labels, 4).tolist() == [3, 5, 0, 4]
    assert first_of_each(labels, 100).tolist() == [3, 5, 0, 4, 1, 2]


def test_features_of_any_length_become_unit():
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0.1]], np.float32)), [[0.6, 0.8], [0, 1]], rtol=1e-7)
