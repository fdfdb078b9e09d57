"""Randomised smoothing: radii of a linear classifier, which are known, and the bound by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, norm

from stages.evaluation.smoothing import ABSTAIN, Certificate, certified_accuracy, certify, radius

SETTINGS = {"sigma": 0.25, "selection": 50, "draws": 4000, "alpha": 0.001, "batch_size": 700}


def linear(weight):
    """Two classes, divided by a plane through 0: the smoothed radius is the distance to it."""

    def logits_of(images):
        values = images.flatten(1) @ weight
        return torch.stack([values, -values], dim=1)

    return logits_of


def certified(images, weight, **changed):
    return certify(linear(weight), images, generator=torch.Generator().manual_seed(0), **{**SETTINGS, **changed})


def test_radii_of_a_linear_classifier_are_distances():
    weight = torch.randn(12, generator=torch.Generator().manual_seed(1))
    direction = weight / weight.norm()
    distances = torch.tensor([0.1, -0.2, 0.3])
    found = certified((distances[:, None] * direction).view(3, 3, 2, 2), weight)
    assert found.predictions.tolist() == [0, 1, 0]
    assert (found.radii <= distances.abs().numpy()).all(), "a certificate may not exceed the truth"
    np.testing.assert_allclose(found.radii, distances.abs(), atol=0.03)


def test_an_image_on_the_boundary_is_not_certified():
    found = certified(torch.zeros(1, 3, 2, 2), torch.ones(12))
    assert (found.predictions, found.radii) == (ABSTAIN, 0)


def test_batches_change_nothing():
    image, weight = torch.full((1, 3, 2, 2), 0.02), torch.ones(12)
    one, other = (certified(image, weight, batch_size=size) for size in (50, 4000))
    assert one.radii == pytest.approx(other.radii, abs=0.03)


@pytest.mark.parametrize(("count", "draws"), [(99, 100), (100, 100), (760, 1000)])
def test_the_bound_is_that_of_clopper_and_pearson(count, draws):
    lower = beta.ppf(0.001, count, draws - count + 1)
    assert radius(count, draws, sigma=0.5, alpha=0.001) == pytest.approx(0.5 * norm.ppf(lower))


def test_a_class_that_may_be_below_one_half_has_no_radius():
    assert radius(55, 100, sigma=0.5, alpha=0.001) == 0


def test_accuracy_counts_what_is_right_and_far_enough():
    found = Certificate(np.array([0, 1, 1, ABSTAIN]), np.array([0.5, 0.2, 0.9, 0.0]))
    assert certified_accuracy(found, np.array([0, 1, 0, 0]), [0, 0.3, 0.5]) == [0.5, 0.25, 0.25]
