"""JPEG against Pillow by way of a file; bit depth by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from stages.defences.compression import bits, jpeg


def smooth_image(side: int = 24) -> np.ndarray:
    """Two crossed ramps and a disc of another colour, uint8 (side, side, 3)."""
    y, x = np.mgrid[:side, :side] / (side - 1)
    disc = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06) * 0.4
    return (np.stack([0.6 * x + disc, 0.6 * y, 0.5 - 0.5 * x * y + disc], -1) * 255).round().astype(np.uint8)


def to_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255))


@pytest.mark.parametrize("quality", [1, 75, 100])
def test_jpeg_is_what_comes_back_from_a_file(tmp_path, quality):
    pixels, path = smooth_image(), tmp_path / "image.jpg"
    Image.fromarray(pixels).save(path, quality=quality, subsampling=2)  # 2: colour at half resolution
    assert torch.equal(jpeg(to_images(pixels), quality=quality), to_images(np.asarray(Image.open(path))))


def test_jpeg_rounds_to_8_bits_first():
    images = to_images(smooth_image())
    almost = (images + 0.49 / 255 * torch.linspace(-1, 1, 24)).clamp(0, 1)
    assert torch.equal(jpeg(almost, quality=75), jpeg(images, quality=75))


def test_jpeg_changes_less_at_higher_quality():
    grey = to_images(np.repeat(smooth_image()[..., 1:2], 3, -1))
    changes = [(jpeg(grey, quality=quality) - grey).abs().mean() * 255 for quality in (5, 50, 95)]
    assert changes[0] > 2 * changes[1] > 4 * changes[2]
    assert changes[2] < 0.5


def test_bits_by_hand():
    images = torch.tensor([0.0, 0.16, 0.17, 0.49, 0.51, 0.84, 1.0]).expand(1, 3, 1, 7)
    one, two = torch.tensor([0, 0, 0, 0, 1, 1, 1.0]), torch.tensor([0, 0, 1, 1, 2, 3, 3]) / 3
    assert torch.equal(bits(images, bits=1), one.expand(1, 3, 1, 7))
    torch.testing.assert_close(bits(images, bits=2), two.expand(1, 3, 1, 7))


def test_8_bits_leave_stored_images_as_they_are():
    stored = (torch.arange(256.0) / 255).expand(1, 3, 2, 256)
    assert torch.equal(bits(stored, bits=8), stored)
    assert len(bits(stored, bits=3).unique()) == 8


@pytest.mark.parametrize(
    "defence",
    [partial(jpeg, quality=0), partial(jpeg, quality=101), partial(bits, bits=0), partial(bits, bits=9)],
    ids=["quality 0", "quality 101", "0 bits", "9 bits"],
)
def test_a_quality_that_pillow_would_clamp_and_a_count_out_of_range_are_refused(defence):
    with pytest.raises(AssertionError):
        defence(torch.zeros(1, 3, 8, 8))
