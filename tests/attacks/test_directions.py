"""The translation-invariant direction against an impulse, scipy and its own parts."""

import pytest
import torch

from stages.attacks.directions import TranslationInvariant
from stages.attacks.pgd import Momentum

# Standard deviation (5 - 1) / 6 = 2/3 pixels.
BELL = torch.exp(-torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).square() / (2 * (2 / 3) ** 2))
KERNEL = torch.outer(BELL, BELL) / BELL.sum() ** 2


@pytest.fixture
def gradient() -> torch.Tensor:
    return torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))


def test_an_impulse_becomes_the_gaussian_in_its_own_channel():
    gradient = torch.zeros(2, 3, 9, 7)
    gradient[1, 2, 4, 3] = gradient[0, 0, 0, 0] = 1.0
    expected = torch.zeros_like(gradient)
    expected[1, 2, 2:7, 1:6] = KERNEL
    expected[0, 0, :3, :3] = KERNEL[2:, 2:]  # cut at the edge
    torch.testing.assert_close(TranslationInvariant(5)(gradient), expected)


def test_a_kernel_of_one_pixel_changes_nothing(gradient):
    assert torch.equal(TranslationInvariant(1)(gradient), gradient)


def test_hands_the_smoothed_gradient_on(gradient):
    smooth, momentum, both = TranslationInvariant(3), Momentum(0.5), TranslationInvariant(3, Momentum(0.5))
    for factor in (1.0, -2.0):
        assert torch.equal(both(factor * gradient), momentum(smooth(factor * gradient)))


def test_refuses_a_kernel_without_a_middle():
    with pytest.raises(AssertionError):
        TranslationInvariant(4)
