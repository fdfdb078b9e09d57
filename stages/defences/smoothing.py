"""Defences by local smoothing: median, Gaussian. Channels do not mix; edges are mirrored, edge pixels twice.

scipy is imported inside the functions: it takes a tenth of a second, which every stage that might smooth would pay.
"""

from typing import Any

import torch
from torch import Tensor

from stages.defences.image_by_image import image_by_image


def median(images: Tensor, *, size: int) -> Tensor:
    """Return the median over size x size pixels of each channel.

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


def gaussian(images: Tensor, *, sigma: float) -> Tensor:
    """Convolve each channel with a Gaussian, cut off at four standard deviations.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        sigma: Its standard deviation in pixels.

    Returns:
        (N, 3, H, W), float32 in [0, 1]; differentiable.

    Source: Xu et al. 2018 name it beside the median, sec. III-B.
    """
    return GaussianFilter.apply(images, sigma)


class GaussianFilter(torch.autograd.Function):
    """The filter and its gradient, which is smoothed likewise: with mirrored edges the matrix is symmetric."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, sigma: float) -> Tensor:
        from scipy import ndimage

        ctx.sigma = sigma
        return image_by_image(lambda image: ndimage.gaussian_filter(image, sigma=(sigma, sigma, 0)), images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        from scipy import ndimage

        smooth = ndimage.gaussian_filter(gradient.cpu().numpy(), sigma=(0, 0, ctx.sigma, ctx.sigma))
        return torch.from_numpy(smooth).to(gradient.device), None
