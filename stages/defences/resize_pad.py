"""Random resizing and padding."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.bpda import to_pixel_range


class Noise(Protocol):
    """A source of random numbers, one stream per image."""

    def uniform(self, shape: tuple[int, ...], *, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw (N, *shape), uniform in [low, high)."""


def resize_pad(images: Tensor, *, smallest: float, noise: Noise) -> Tensor:
    """Shrink each image bilinearly to a random side and pad it with zeros, at a random place, to its size.

    All sides from the smallest to S are as likely, and so are all places.

    Args:
        images: Square images (N, 3, S, S), float32 in [0, 1].
        smallest: Smallest side as a share of S, in (0, 1]; rounded to a pixel. 1 changes nothing.
        noise: Draws side and place: three numbers per image, new ones in every call.

    Returns:
        (N, 3, S, S), float32 in [0, 1]; differentiable for a given draw.

    Source: Xie et al. 2018, who enlarge instead; here the victim's input keeps its size.
    """
    side = images.shape[-1]
    assert images.shape[-2] == side and 0 < smallest <= 1, (images.shape, smallest)
    least = max(round(side * smallest), 1)
    placed = []
    for image, (size, left, top) in zip(images, noise.uniform((3,)).tolist(), strict=True):
        small = least + int(size * (side - least + 1))
        x, y = int(left * (side - small + 1)), int(top * (side - small + 1))
        shrunk = F.interpolate(image[None], (small, small), mode="bilinear", antialias=True)[0]
        placed.append(F.pad(shrunk, (x, side - small - x, y, side - small - y)))
    return to_pixel_range(torch.stack(placed))  # rounding errors alone leave [0, 1]
