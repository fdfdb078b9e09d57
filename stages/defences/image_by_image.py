"""Apply a function of one numpy image to a batch of tensors."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def image_by_image(process: Callable[[np.ndarray], np.ndarray], images: Tensor) -> Tensor:
    """Apply `process` to each image of a batch.

    Args:
        process: Maps an image (H, W, 3), float32 in [0, 1], to one of the same shape; leaves its argument as it is.
        images: (N, 3, H, W), float32 in [0, 1].

    Returns:
        (N, 3, H, W), float32, clamped to [0, 1], on the images' device; not differentiable.
    """
    pixels = images.detach().cpu().permute(0, 2, 3, 1).numpy()
    processed = np.empty_like(pixels)
    for out, image in zip(processed, pixels, strict=True):
        out[:] = process(image)
    return torch.from_numpy(processed).clamp(0, 1).permute(0, 3, 1, 2).to(images.device)
