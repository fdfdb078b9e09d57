"""Rounding inside the attack against what is stored in the end."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.attacks.eight_bit import through_8_bits
from stages.attacks.linf import LinfBall

seen = through_8_bits(lambda images: images)


@given(st.integers(0, 255), st.integers(0, 2**31))
def test_the_model_sees_what_is_stored(eps, seed):
    ball, generator = LinfBall(eps / 255), torch.Generator().manual_seed(seed)
    images = torch.randint(256, (2, 3, 4, 4), generator=generator) / 255
    moved = ball.random_start(images, 2 * torch.rand(images.shape, generator=generator) - 1)
    assert torch.equal(seen(moved), ball.quantise(moved, images) / 255)


def test_halves_go_to_the_even_neighbour():
    assert torch.equal(seen(torch.tensor([126.5, 127.5, 128.5]) / 255), torch.tensor([126, 128, 128]) / 255)


def test_stored_images_stay_bit_by_bit():
    levels = torch.arange(256).to(torch.uint8).float() / 255
    assert torch.equal(seen(levels), levels)


def test_the_gradient_is_that_of_the_model_at_the_rounded_image():
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((weight * seen(images) ** 2).sum(), images)
    rounded = (images.detach() * 255).round() / 255
    assert not torch.equal(rounded, images)
    assert torch.equal(gradient, weight * 2 * rounded)
