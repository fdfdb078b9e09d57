"""Geometry of decoded images: from any size to the model's square."""

import numpy as np
from PIL import Image


def fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resizes the shorter side to `size` (bicubic, antialiased) and crops the centre, as CLIP does.

    Args:
        pixels: One image (H, W, 3), uint8.
        size: Side of the model's input, in pixels.

    Returns:
        (size, size, 3), uint8; an image of that size already is returned as it is.
    """
    height, width = pixels.shape[:2]
    if height == width == size:
        return pixels
    scale = size / min(height, width)
    resized = Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)))
