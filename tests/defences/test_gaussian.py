"""Gaussian smoothing: by hand and against scipy, channel by channel."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from stages.defences.gaussian import gaussian


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_gaussian_equals_scipy_on_one_channel(images, sigma):
    found = gaussian(images, sigma=sigma)
    for image, channel in ((0, 0), (1, 2)):
        expected = ndimage.gaussian_filter(images[image, channel].numpy(), sigma)
        np.testing.assert_allclose(found[image, channel].numpy(), expected, atol=1e-6)


def test_an_impulse_becomes_a_gaussian_in_its_own_channel():
    images = torch.zeros(2, 3, 17, 17)
    images[1, 2, 8, 8] = 1.0
    found = gaussian(images, sigma=1.5)
    bell = torch.exp(-torch.arange(-6.0, 7.0).square() / (2 * 1.5**2))
    expected = torch.zeros_like(images)
    expected[1, 2, 2:15, 2:15] = torch.outer(bell, bell) / bell.sum() ** 2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_the_gradient_of_the_gaussian_is_that_of_its_matrix(images, sigma):
    """Of a row of impulses, smoothed, and also at the edges, where a Gaussian is mirrored."""
    images = images.clone().requires_grad_()
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((gaussian(images, sigma=sigma) * weights).sum(), images)
    height, width = images.shape[2:]
    rows, columns = (torch.tensor(ndimage.gaussian_filter1d(np.eye(n), sigma, axis=0)) for n in (height, width))
    expected = rows.T @ weights.double() @ columns
    torch.testing.assert_close(gradient.double(), expected, atol=1e-6, rtol=1e-5)
