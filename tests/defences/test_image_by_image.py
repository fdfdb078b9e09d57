"""What all defences promise: the range, the shape, and that images do not see each other."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from stages.defences.compression import bits, jpeg
from stages.defences.denoising import total_variation, wavelet
from stages.defences.image_by_image import image_by_image
from stages.defences.resize_pad import resize_pad
from stages.defences.smoothing import gaussian, median

SIDE = 24


class Named:
    """Numbers that depend on an image's name alone."""

    def __init__(self, names: list[int]) -> None:
        self.names = names

    def uniform(self, shape, *, low=0.0, high=1.0):
        drawn = [np.random.default_rng(name).random(shape, np.float32) for name in self.names]
        return low + (high - low) * torch.from_numpy(np.stack(drawn))


def resize_pad_by_name(images: torch.Tensor, names: list[int]) -> torch.Tensor:
    return resize_pad(images, smallest=0.5, noise=Named(names))


DEFENCES = {
    "jpeg": lambda images, _: jpeg(images, quality=50),
    "bits": lambda images, _: bits(images, bits=3),
    "median": lambda images, _: median(images, size=3),
    "gaussian": lambda images, _: gaussian(images, sigma=1.0),
    "total_variation": lambda images, _: total_variation(images, weight=0.1),
    "wavelet": lambda images, _: wavelet(images, sigma=0.05),
    "resize_pad": resize_pad_by_name,
}


@pytest.fixture(params=DEFENCES)
def defence(request):
    return DEFENCES[request.param]


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
