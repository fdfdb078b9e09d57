"""The ball, as geometry and on stored bytes."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise

eps_255 = st.one_of(st.integers(0, 255), st.floats(1, 255))


def stored_images(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (2, 3, 4, 4))).float() / 255


@given(eps_255, st.integers(0, 2**31), st.integers(-300, 300))
def test_projected_and_quantised_images_stay_inside(eps, seed, push):
    ball, images = LinfBall(eps / 255), stored_images(seed)
    moved = ball.project(images + push / 255, images)
    assert moved.min() >= 0 and moved.max() <= 1
    assert (moved - images).abs().max() <= ball.eps + 1e-6
    stored = ball.quantise(moved, images)
    assert ball.contains(stored, images)
    assert (stored.int() - (images * 255).round().int()).abs().max() <= eps


@given(st.integers(1, 255), st.integers(0, 2**31))
def test_quantising_at_a_whole_eps_is_rounding(eps, seed):
    ball, images = LinfBall(eps / 255), stored_images(seed)
    noise = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) - 1
    moved = ball.random_start(images, noise)
    assert torch.equal(ball.quantise(moved, images), (moved * 255).round().to(torch.uint8))


def test_contains_notices_a_single_step_too_much():
    ball, images = LinfBall(8 / 255), torch.full((1, 3, 2, 2), 100 / 255)
    inside = torch.full((1, 3, 2, 2), 108, dtype=torch.uint8)
    assert ball.contains(inside, images)
    inside[0, 2, 1, 1] = 109
    assert not ball.contains(inside, images)


def test_random_start_fills_the_ball():
    images = torch.full((1, 3, 32, 32), 0.5)
    start = LinfBall(0.1).random_start(images, ImageNoise(0, ["a"]).uniform((3, 32, 32), low=-1, high=1))
    assert 0.49 < start.mean() < 0.51
    assert start.min() < 0.401 and start.max() > 0.599


def test_noise_belongs_to_the_image():
    one, both = ImageNoise(3, ["b"]), ImageNoise(3, ["a", "b"])
    for _ in range(2):
        assert torch.equal(one.uniform((2, 2)), both.uniform((2, 2))[1:])
    assert not torch.equal(ImageNoise(3, ["b"]).uniform((2, 2)), ImageNoise(4, ["b"]).uniform((2, 2)))
    assert not torch.equal(*ImageNoise(3, ["a", "b"]).uniform((2, 2)))
