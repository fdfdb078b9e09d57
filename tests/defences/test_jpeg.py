"""JPEG against Pillow by way of a file."""

import numpy as np
import pytest
import torch
from PIL import Image

from stages.defences.defence import defence_of
from stages.defences.jpeg import jpeg, quantisation, smooth_jpeg
from stages.runtime.method_blocks import Jpeg


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


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_that_pillow_would_clamp_is_refused(quality):
    with pytest.raises(AssertionError):
        jpeg(torch.zeros(1, 3, 8, 8), quality=quality)


@pytest.mark.parametrize("side", [24, 32])
@pytest.mark.parametrize("quality", [10, 50, 75, 95])
def test_the_smooth_jpeg_is_near_the_real_one(quality, side):
    """Nearer than half of what the real one changes; on grey images, where colours are not halved, within a level."""
    images = to_images(smooth_image(side))
    real, smooth = jpeg(images, quality=quality), smooth_jpeg(images, quality=quality)
    assert (smooth - real).abs().mean() < 0.5 * (images - real).abs().mean()
    grey = images[:, :1].expand(-1, 3, -1, -1)
    away = (smooth_jpeg(grey, quality=quality) - jpeg(grey, quality=quality)).abs().mean() * 255
    assert away < 0.05 * (10 + quantisation(quality)[0].float().mean())


def test_the_gradient_through_jpeg_is_that_of_the_smooth_one():
    """Of the brightness of one pixel: straight through, it would be that pixel alone."""
    images = to_images(smooth_image(32)).requires_grad_()
    defence = defence_of(Jpeg(kind="jpeg", quality=30))
    assert torch.equal(defence(images), jpeg(images, quality=30))
    (gradient,) = torch.autograd.grad(defence(images)[0, 1, 12, 12], images)
    (smooth,) = torch.autograd.grad(smooth_jpeg(images, quality=30)[0, 1, 12, 12], images)
    assert torch.equal(gradient, smooth)
    inside, outside = gradient[0, 1, 8:16, 8:16], gradient[0, :, 16:, 16:]
    assert (inside != 0).float().mean() > 0.5 and not outside.any()  # colours lie in blocks of 16 x 16
