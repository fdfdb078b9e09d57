"""The L-infinity threat model: what an attacker may do to the pixels, and which way is steepest there."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinfBall:
    """{images + δ : max |δ| <= eps} ∩ [0, 1]^(C·H·W), for each image.

    Attributes:
        eps: Radius, in units of the pixel range [0, 1].
    """

    eps: float

    def random_start(self, images: Tensor, noise: Tensor) -> Tensor:
        """A point of the ball; `noise` (N, C, H, W) is uniform in [-1, 1]."""
        return (images + self.eps * noise).clamp(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of steepest ascent under this norm, for gradients (N, C, H, W)."""
        return gradient.sign()

    def project(self, images_adv: Tensor, images: Tensor) -> Tensor:
        """The nearest point of the ball around images, both (N, C, H, W)."""
        return torch.clamp(images_adv, images - self.eps, images + self.eps).clamp(0, 1)

    def quantise(self, images_adv: Tensor, images: Tensor) -> Tensor:
        """Rounds to 8 bits without leaving the ball.

        Args:
            images_adv: Points of the ball around images, (N, C, H, W) in [0, 1].
            images: Clean images of the same shape that are multiples of 1/255.

        Returns:
            (N, C, H, W), uint8; at an eps that is a multiple of 1/255 this is plain rounding.
        """
        clean, limit = self._eight_bit(images)
        rounded = (images_adv * 255).round().int()
        return torch.clamp(rounded, clean - limit, clean + limit).clamp(0, 255).to(torch.uint8)

    def contains(self, stored: Tensor, images: Tensor) -> bool:
        """Return whether 8-bit images (N, C, H, W) lie in the ball around images in [0, 1], in exact integers."""
        clean, limit = self._eight_bit(images)
        return bool(((stored.int() - clean).abs() <= limit).all())

    def _eight_bit(self, images: Tensor) -> tuple[Tensor, int]:
        """The clean images and the radius, in steps of 1/255 (the radius rounded down)."""
        return (images * 255).round().int(), int(self.eps * 255 + 1e-6)
