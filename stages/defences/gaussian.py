"""Gaussian smoothing as a defence.

scipy is imported inside the functions: it takes a tenth of a second, which every stage that might smooth would pay.
"""

from typing import Any

import torch
from torch import Tensor

from stages.defences.image_by_image import image_by_image


def gaussian(images: Tensor, *, sigma: float) -> Tensor:
    """Convolve each channel with a Gaussian, cut off at four standard deviations.

    Edges are mirrored, edge pixels twice.

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
