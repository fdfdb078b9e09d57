"""Decoding of the embedded Fashion-MNIST: 28x28 grey bytes -> 32x32 RGB."""

import numpy as np

PADDING = 2  # pixels on each side


def images_of(grey: np.ndarray) -> np.ndarray:
    """Grey images (N, 28, 28), uint8 -> (N, 32, 32, 3), uint8, padded with black, the background of these images."""
    sides = (PADDING, PADDING)
    return np.repeat(np.pad(grey, ((0, 0), sides, sides))[..., None], 3, axis=-1)
