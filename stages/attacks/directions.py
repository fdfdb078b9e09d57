"""Directions that PGD follows instead of the bare gradient."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.attacks.pgd import Direction


class TranslationInvariant:
    """Smooths the gradient with a Gaussian: to first order, the mean gradient over small shifts of the image.

    Args:
        kernel_size: Side of the Gaussian in pixels, odd; its standard deviation is (kernel_size - 1) / 6 pixels, as in
            the authors' code, so that the kernel ends at three of them. 1 smooths nothing.
        direction: What to make of the smoothed gradient, for example its momentum.

    Source: Dong et al. 2019 (TI-FGSM), eq. 8; gradients beyond the image's edge count as 0.
    """

    def __init__(self, kernel_size: int, direction: Direction | None = None) -> None:
        assert kernel_size % 2 == 1, kernel_size
        self.weights = torch.exp(-torch.linspace(-3, 3, kernel_size).square() / 2)
        self.weights /= self.weights.sum()
        self.direction = direction

    def __call__(self, gradient: Tensor) -> Tensor:
        """Takes a gradient (N, C, H, W), returns the direction of the same shape."""
        weights = self.weights.to(gradient).expand(gradient.shape[1], 1, 1, -1)  # (C, 1, 1, size): channel by channel
        rows = F.conv2d(gradient, weights, padding="same", groups=len(weights))
        smooth = F.conv2d(rows, weights.transpose(2, 3), padding="same", groups=len(weights))
        return self.direction(smooth) if self.direction else smooth
