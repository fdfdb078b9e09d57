"""The ball and the 8-bit file, for any radius and any images, against numpy."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.attacks.eight_bit import through_8_bits
from stages.attacks.linf import LinfBall

SHAPE = (2, 3, 4, 5)
any_case = settings(max_examples=100, deadline=None, derandomize=True)
radii = st.floats(0, 1, width=32) | st.integers(0, 255).map(lambda eps: eps / 255)
seeds = st.integers(0, 2**32 - 1)
noises = st.sampled_from([-1.0, 1.0]) | st.floats(-1, 1)


def uniform(seed: int, low: float = 0, high: float = 1) -> torch.Tensor:
    """Random numbers, some of them at the very ends of the range."""
    drawn = low + (high - low) * torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
    drawn[0, 0, 0, :2] = torch.tensor([low, high])
    return drawn


def is_inside(points: torch.Tensor, images: torch.Tensor, eps: float) -> bool:
    """In numpy and double precision, up to the rounding of single precision."""
    distance = np.abs(points.double().numpy() - images.double().numpy())
    return bool((distance <= eps + 1e-6).all() and points.min() >= 0 and points.max() <= 1)


@any_case
@given(radii, seeds, noises)
def test_a_random_start_lies_in_the_ball_and_follows_its_noise(eps, seed, noise):
    ball, images, start = LinfBall(eps), uniform(seed), uniform(seed + 1, -1, 1)
    start[1] = noise
    found = ball.random_start(images, start)
    assert is_inside(found, images, eps)
    np.testing.assert_allclose(found, np.clip(images.numpy() + eps * start.numpy(), 0, 1), atol=1e-6)


@any_case
@given(radii, seeds, st.floats(0, 3))
def test_projecting_finds_the_nearest_point_and_leaves_points_of_the_ball_alone(eps, seed, reach):
    ball, images = LinfBall(eps), uniform(seed)
    moved = images + uniform(seed + 1, -reach, reach)
    found = ball.project(moved, images)
    low, high = np.maximum(images.double().numpy() - eps, 0), np.minimum(images.double().numpy() + eps, 1)
    assert is_inside(found, images, eps)
    np.testing.assert_allclose(found.double(), np.clip(moved.double().numpy(), low, high), atol=1e-6)
    assert torch.equal(ball.project(found, images), found)


@any_case
@given(radii.filter(lambda eps: eps > 0), seeds)
def test_no_point_of_the_ball_gains_more_than_a_step_along_the_sign(eps, seed):
    ball, gradient = LinfBall(eps), uniform(seed, -1, 1).double()
    step = eps * ball.steepest(gradient)
    assert step.abs().max() <= eps
    gain = (gradient * step).flatten(1).sum(1)  # (N,)
    for other in range(5):
        assert (gain >= eps * (gradient * uniform(seed + other, -1, 1)).flatten(1).sum(1)).all()


@any_case
@given(st.integers(0, 255), seeds, st.integers(0, 255), st.booleans())
def test_contains_is_the_distance_of_integers(eps, seed, reach, is_above):
    random = np.random.default_rng(seed)
    images, shift = random.integers(0, 256, SHAPE), random.integers(-reach, reach + 1, SHAPE)
    images[0, 0, 0, 0], shift[0, 0, 0, 0] = (0, reach) if is_above else (255, -reach)
    stored = np.clip(images + shift, 0, 255)
    found = LinfBall(eps / 255).contains(torch.from_numpy(stored).to(torch.uint8), torch.from_numpy(images) / 255)
    assert found == bool((np.abs(stored - images) <= eps).all()) == (np.abs(stored - images).max() <= eps)


@any_case
@given(radii, seeds)
def test_quantising_finds_the_nearest_level_of_those_in_the_ball(eps, seed):
    ball, images = LinfBall(eps), (uniform(seed) * 255).round() / 255
    points = ball.project(images + uniform(seed + 1, -1, 1), images)
    stored = ball.quantise(points, images)
    assert stored.dtype == torch.uint8 and ball.contains(stored, images)
    levels, clean = np.arange(256), (images * 255).round().numpy()[..., None]
    allowed = np.abs(levels - clean) <= eps * 255 + 1e-4  # (N, C, H, W, 256)
    distances = np.where(allowed, np.abs(levels / 255 - points.double().numpy()[..., None]), np.inf)
    found = np.take_along_axis(distances, stored.numpy()[..., None].astype(int), -1)[..., 0]
    assert (found <= distances.min(-1) + 1e-6).all()
    assert torch.equal(ball.quantise(stored / 255, images), stored)


@any_case
@given(seeds, st.floats(0, 1, width=32))
def test_rounding_to_8_bits_is_nearest_in_order_and_happens_once(seed, value):
    images = uniform(seed)
    images[1, 0] = value
    seen = through_8_bits(lambda images: images)(images)
    levels = seen.double() * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert (seen.double() - images.double()).abs().max() <= 0.5 / 255 + 1e-7
    order = images.flatten().argsort()
    assert (seen.flatten()[order].diff() >= 0).all()
    assert torch.equal(through_8_bits(lambda images: images)(seen), seen)
