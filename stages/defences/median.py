"""The median as a defence."""

import torch
from torch import Tensor


def median(images: Tensor, *, size: int) -> Tensor:
    """Return the median over size x size pixels of each channel. Edges are mirrored, edge pixels twice.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        size: Side of the window in pixels. Of an even one the pixel lies right of and below the middle, and of the two
            middle values the larger one counts, as in the authors' code.

    Returns:
        (N, 3, H, W), values of the images; differentiable: a median takes the gradient of the pixel that it is.

    Source: Xu et al. 2018 (feature squeezing), sec. III-B.
    """
    rows, columns = (mirrored(side, size).to(images.device) for side in images.shape[-2:])
    windows = images[..., rows, :][..., columns].unfold(2, size, 1).unfold(3, size, 1)
    return windows.flatten(-2).kthvalue(size * size // 2 + 1).values


def mirrored(side: int, size: int) -> Tensor:
    """Return the indices (side + size - 1,) of a row of pixels that is extended by its mirror images."""
    places = torch.arange(-(size // 2), side + size - 1 - size // 2) % (2 * side)
    return torch.minimum(places, 2 * side - 1 - places)
