"""Defences by lossy compression: JPEG, fewer bits per channel."""

import io

import numpy as np
from PIL import Image
from torch import Tensor

from stages.defences.image_by_image import image_by_image


def jpeg(images: Tensor, *, quality: int) -> Tensor:
    """Round to 8 bits, encode as JPEG (Pillow, colour at half resolution: 4:2:0) and decode.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        quality: 1 to 100; larger changes less.

    Returns:
        (N, 3, H, W), multiples of 1/255; not differentiable.

    Source: Dziugaite et al. 2016.
    """
    assert 1 <= quality <= 100, quality  # Pillow would clamp it silently

    def process(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        with Image.open(file) as decoded:
            return np.asarray(decoded, np.float32) / 255

    return image_by_image(process, images)


def bits(images: Tensor, *, bits: int) -> Tensor:
    """Round each channel to 2^bits evenly spaced values, black and white among them; half to even.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        bits: 1 to 8; 8 leaves a stored image as it is.

    Returns:
        (N, 3, H, W), multiples of 1 / (2^bits - 1); not differentiable.

    Source: Xu et al. 2018 (feature squeezing), sec. III-A.
    """
    assert 1 <= bits <= 8, bits
    steps = 2**bits - 1
    return (images.detach() * steps).round() / steps
