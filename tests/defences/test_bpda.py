"""Straight through and in expectation: values and gradients by hand."""

from itertools import count

import pytest
import torch

from stages.defences.bits import bits
from stages.defences.bpda import expectation, straight_through
from stages.defences.jpeg import jpeg


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("defence", [lambda i: jpeg(i, quality=50), lambda i: bits(i, bits=2), lambda i: 1 - i**2])
def test_straight_through_is_the_defence_forward_and_the_identity_backward(images, defence):
    found = straight_through(defence)(images)
    assert torch.equal(found, defence(images.detach()))
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((weights * found).sum(), images)
    assert torch.equal(gradient, weights)


def test_what_follows_is_differentiated_where_the_defence_leads(images):
    """d/dx of (Q(x))^2 straight through is 2 Q(x), not 2 x."""
    (gradient,) = torch.autograd.grad(straight_through(lambda i: bits(i, bits=1))(images).square().sum(), images)
    assert torch.equal(gradient, 2 * bits(images, bits=1))


@pytest.mark.parametrize("samples", [1, 4])
def test_expectation_is_the_mean_of_values_and_of_gradients(images, samples):
    factors = count(1)

    def objective(images):
        return next(factors) * images.square().sum((1, 2, 3))

    value = expectation(objective, samples)(images)
    mean = (samples + 1) / 2
    torch.testing.assert_close(value, mean * images.square().sum((1, 2, 3)))
    torch.testing.assert_close(torch.autograd.grad(value.sum(), images)[0], mean * 2 * images)
    assert next(factors) == samples + 1  # called so many times, no more


def test_expectation_refuses_no_sample():
    with pytest.raises(AssertionError):
        expectation(lambda images: images.sum((1, 2, 3)), 0)
