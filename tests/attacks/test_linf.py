"""The ball and its 8-bit files, for any radius and any images, against numpy."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.attacks.eight_bit import through_8_bits
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise

SHAPE = (2, 3, 4, 5)
any_case = settings(max_examples=50, deadline=None, derandomize=True)
radii = st.floats(0, 1, width=32) | st.integers(0, 255).map(lambda eps: eps / 255)
seeds = st.integers(0, 2**32 - 1)
seen = through_8_bits(lambda images: images)


def uniform(seed: int, low: float = 0, high: float = 1) -> torch.Tensor:
    """Random numbers, some of them at the very ends of the range."""
    drawn = low + (high - low) * torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
    drawn[0, 0, 0, :2] = torch.tensor([low, high])
    return drawn


@any_case
@given(radii, seeds, st.sampled_from([-1.0, 1.0]) | st.floats(-1, 1))
def test_a_random_start_lies_in_the_ball_and_follows_its_noise(eps, seed, noise):
    ball, images, start = LinfBall(eps), uniform(seed), uniform(seed + 1, -1, 1)
    start[1] = noise
    expected = np.clip(images.numpy() + eps * start.numpy(), 0, 1)
    np.testing.assert_allclose(ball.random_start(images, start), expected, atol=1e-6)


@any_case
@given(radii, seeds, st.floats(0, 3))
def test_projecting_finds_the_nearest_point_and_leaves_points_of_the_ball_alone(eps, seed, reach):
    ball, images = LinfBall(eps), uniform(seed)
    moved = images + uniform(seed + 1, -reach, reach)
    found = ball.project(moved, images)
    low, high = np.maximum(images.double().numpy() - eps, 0), np.minimum(images.double().numpy() + eps, 1)
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
    assert found == bool((np.abs(stored - images) <= eps).all())


@any_case
@given(radii, seeds)
def test_quantising_finds_the_nearest_level_of_those_in_the_ball(eps, seed):
    ball, images = LinfBall(eps), (uniform(seed) * 255).round() / 255
    points = ball.project(images + uniform(seed + 1, -1, 1), images)
    stored = ball.quantise(points, images)
    assert ball.contains(stored, images)
    levels = np.arange(256)
    is_allowed = np.abs(levels - (255 * images.double().numpy()).round()[..., None]) <= 255 * eps + 1e-4
    distances = np.where(is_allowed, np.abs(levels - 255 * points.double().numpy()[..., None]), np.inf)
    found = np.take_along_axis(distances, stored.numpy()[..., None].astype(int), -1)[..., 0]
    assert (found <= distances.min(-1) + 1e-3).all()
    assert torch.equal(ball.quantise(stored / 255, images), stored)


@any_case
@given(st.integers(0, 255), seeds)
def test_an_attack_through_8_bits_sees_what_is_stored(eps, seed):
    ball, images = LinfBall(eps / 255), (uniform(seed) * 255).round() / 255
    moved = ball.random_start(images, uniform(seed + 1, -1, 1))
    assert torch.equal(seen(moved), ball.quantise(moved, images) / 255)
    assert torch.equal(seen(seen(moved)), seen(moved))


def test_halves_go_to_the_even_neighbour():
    assert torch.equal(seen(torch.tensor([126.5, 127.5, 128.5]) / 255), torch.tensor([126, 128, 128]) / 255)


def test_the_gradient_through_8_bits_is_that_of_the_model_at_the_rounded_image():
    images, weight = uniform(0).requires_grad_(), uniform(1, -1, 1)
    (gradient,) = torch.autograd.grad((weight * seen(images) ** 2).sum(), images)
    rounded = (images.detach() * 255).round() / 255
    assert not torch.equal(rounded, images)
    assert torch.equal(gradient, weight * 2 * rounded)


def test_noise_belongs_to_the_image():
    one, both = ImageNoise(3, ["b"]), ImageNoise(3, ["a", "b"])
    for _ in range(2):
        assert torch.equal(one.uniform((2, 2)), both.uniform((2, 2))[1:])
    assert not torch.equal(ImageNoise(3, ["b"]).uniform((2, 2)), ImageNoise(4, ["b"]).uniform((2, 2)))
    assert not torch.equal(*ImageNoise(3, ["a", "b"]).uniform((2, 2)))
