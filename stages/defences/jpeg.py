"""JPEG as a defence."""

import io
import math
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stages.defences.bpda import straight_through
from stages.defences.image_by_image import image_by_image


def jpeg(images: Tensor, *, quality: int) -> Tensor:
    """Round to 8 bits, encode as JPEG (Pillow, colour at half resolution: 4:2:0) and decode.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        quality: 1 to 100; larger changes less.

    Returns:
        (N, 3, H, W), multiples of 1/255; the gradient is that of `smooth_jpeg`.

    Source: Dziugaite et al. 2016.
    """
    assert 1 <= quality <= 100, quality  # Pillow would clamp it silently

    def process(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        with Image.open(file) as decoded:
            return np.asarray(decoded, np.float32) / 255

    defence = straight_through(partial(image_by_image, process), surrogate=partial(smooth_jpeg, quality=quality))
    return defence(images)


def smooth_jpeg(images: Tensor, *, quality: int) -> Tensor:
    """Approximate `jpeg` differentiably: round(x) becomes round(x) + (x - round(x))^3.

    With the identity instead, an attack would not see which frequencies the quantisation removes.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        quality: As for `jpeg`.

    Returns:
        (N, 3, H, W), in [0, 1]; differentiable.

    Source: Shin and Song 2017 (JPEG-resistant adversarial images), sec. 3.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    red, green, blue = padded.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    blueness, redness = 0.564 * (blue - luma), 0.713 * (red - luma)
    coarse, fine = quantisation(quality)
    luma = smooth_blocks(luma - 128, coarse.to(images)) + 128
    half = F.avg_pool2d(torch.stack([blueness, redness], 1), 2)
    half = torch.stack([smooth_blocks(plane, fine.to(images)) for plane in half.unbind(1)], 1)
    blueness, redness = F.interpolate(half, scale_factor=2, mode="bilinear").unbind(1)
    red, blue = luma + redness / 0.713, luma + blueness / 0.564
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return (torch.stack([red, green, blue], 1) / 255).clamp(0, 1)[..., :height, :width]


@cache
def quantisation(quality: int) -> tuple[Tensor, Tensor]:
    """Return the steps (8, 8) by which Pillow rounds the frequencies of brightness and of colour."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        tables = image.quantization  # type: ignore[attr-defined]  # of JPEG images alone
    return torch.tensor(tables[0]).view(8, 8), torch.tensor(tables[1]).view(8, 8)


def smooth_blocks(plane: Tensor, steps: Tensor) -> Tensor:
    """Round the frequencies of blocks of 8 x 8 pixels of a plane (N, H, W) softly to multiples of the steps (8, 8)."""
    count, height, width = plane.shape
    order = torch.arange(8, device=plane.device)
    waves = 0.5 * torch.cos((2 * order + 1) * order[:, None] * math.pi / 16).to(plane)
    waves[0] /= math.sqrt(2)
    blocks = plane.view(count, height // 8, 8, width // 8, 8).transpose(2, 3)
    frequencies = waves @ blocks @ waves.T / steps
    whole = frequencies.detach().round()
    blocks = waves.T @ ((whole + (frequencies - whole) ** 3) * steps) @ waves
    return blocks.transpose(2, 3).reshape(count, height, width)
