"""What all defences promise: the range, the shape, and that images do not see each other."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from stages.attacks.noise import ImageNoise
from stages.defences.defence import defence_of
from stages.defences.image_by_image import image_by_image
from stages.defences.total_variation import total_variation
from stages.runtime.method_blocks import Defence as Block
from stages.runtime.method_blocks import ImageProcessing, ResizePad

SIDE = 24


BLOCKS = {
    "jpeg": {"quality": 50},
    "bits": {"bits": 3},
    "median": {"size": 3},
    "gaussian": {"sigma": 1.0},
    "total_variation": {"weight": 0.1},
    "wavelet": {"sigma": 0.05},
    "resize_pad": {"smallest": 0.5},
}
# how much of the gradient is the function's own; the rest is the identity's. `jpeg` has a test beside its smooth form
SHARE_OF_OWN_GRADIENT = {
    "bits": 0,
    "median": 1,
    "gaussian": 1,
    "total_variation": 1,
    "wavelet": 0.5,
    "resize_pad": 1,
}


@pytest.fixture(params=BLOCKS)
def block(request):
    return TypeAdapter(Block).validate_python({"kind": request.param, **BLOCKS[request.param]})


@pytest.fixture
def defence(block):
    """Maps images and their names to images; what chance an image meets depends on its name alone."""
    defence = defence_of(block)
    return lambda images, names: defence(images, ImageNoise(0, list(map(str, names))))


@pytest.fixture
def images() -> torch.Tensor:
    """Random images, with a white, a black and a hard-edged one among them."""
    drawn = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    drawn[1], drawn[2], drawn[3] = 1.0, 0.0, (drawn[3] > 0.5).float()
    return drawn


def test_shape_range_and_dtype(defence, images):
    before = images.clone()
    found = defence(images, range(6))
    assert (found.shape, found.dtype, found.is_contiguous()) == (images.shape, torch.float32, True)
    assert found.min() >= 0 and found.max() <= 1
    assert not torch.equal(found, images)
    assert torch.equal(images, before)


def test_no_image_sees_its_batch(defence, images):
    together = defence(images, range(6))
    order = [4, 0, 5, 3, 1, 2]
    assert torch.equal(defence(images[order], order), together[order])
    assert torch.equal(torch.cat([defence(images[place : place + 1], [place]) for place in range(6)]), together)


def test_order_in_memory_does_not_matter(defence, images):
    assert torch.equal(
        defence(images.contiguous(memory_format=torch.channels_last), range(6)), defence(images, range(6))
    )


def test_threads_do_not_disturb_each_other(defence, images):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda place: defence(images[place : place + 1], [place]), range(6)))
    assert torch.equal(torch.cat(found), defence(images, range(6)))


def test_every_kind_of_block_is_tested():
    kinds = {get_args(block.model_fields["kind"].annotation)[0] for block in get_args(ImageProcessing)}
    assert kinds == set(BLOCKS)


@pytest.mark.parametrize(("kind", "own"), SHARE_OF_OWN_GRADIENT.items())
def test_an_attacker_gets_the_functions_own_gradient_or_the_identitys(kind, own):
    """Along a random direction, in float64, by finite differences."""
    defence = defence_of(TypeAdapter(Block).validate_python({"kind": kind, **BLOCKS[kind]}))
    generator = torch.Generator().manual_seed(1)
    images, direction, weights = torch.rand(3, 2, 3, SIDE, SIDE, generator=generator).double()
    images, direction = 0.1 + 0.8 * images, direction - 0.5

    def value(images):
        return (weights * defence(images, ImageNoise(0, list("ab")))).sum()

    (gradient,) = torch.autograd.grad(value(images.requires_grad_()), images)
    slope = (value(images + 1e-6 * direction) - value(images - 1e-6 * direction)) / 2e-6 if own else 0
    expected = own * slope + (1 - own) * (weights * direction).sum()
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-3, atol=1e-3)


def test_a_flat_image_has_a_gradient_through_total_variation():
    """Where nothing slopes the length of the slopes has none: it must not become NaN."""
    images = torch.zeros(1, 3, SIDE, SIDE, requires_grad=True)
    (gradient,) = torch.autograd.grad(total_variation(images, weight=0.1).sum(), images)
    torch.testing.assert_close(gradient, torch.ones_like(images))


def test_chance_is_of_the_noise_that_is_given(images):
    """Each noise that is given, as by an attacker or by evaluation, and a victim's own are different streams."""
    defence = defence_of(ResizePad(kind="resize_pad", smallest=0.5))
    ids = list("abcdef")
    given, again = (defence(images, ImageNoise(0, ids)) for _ in range(2))
    evaluated = [defence(images, ImageNoise(0, ids).beside("defence")) for _ in range(2)]
    own = [defence(images), defence(images)]
    assert torch.equal(given, again) and torch.equal(*evaluated)
    assert not any(map(torch.equal, [given, given, evaluated[0], own[0]], [evaluated[0], own[0], own[0], own[1]]))


def test_image_by_image_hands_over_channels_last_and_clamps():
    images = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5) / 120
    shapes = []

    def process(image):
        shapes.append((image.shape, image.dtype))
        return image.astype(np.float64) * [1, 2, -1] + [0, 0, 0.5]

    expected = torch.stack([images[:, 0], images[:, 1] * 2, 0.5 - images[:, 2]], 1).clamp(0, 1)
    torch.testing.assert_close(image_by_image(process, images), expected)
    assert shapes == [((4, 5, 3), np.float32)] * 2


def test_image_by_image_takes_no_image():
    assert image_by_image(partial(np.clip, a_min=0, a_max=1), torch.zeros(0, 3, 4, 5)).shape == (0, 3, 4, 5)
