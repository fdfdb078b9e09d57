"""Gradient steps that a defence takes itself at test time, and how an attacker differentiates them.

Each class is one way; the images and logits that come out are the same.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Value = Callable[[Tensor], Tensor]  # images (N, 3, H, W) -> (N,)


class Inner(Protocol):
    """Rule for the gradient steps of a defence."""

    def gradient(self, value: Value, images: Tensor) -> Tensor:
        """Return the gradient (N, 3, H, W) of the value of each image."""

    def sign(self, gradient: Tensor) -> Tensor:
        """Return the signs of a gradient (N, 3, H, W)."""


class Constant:
    """Steps whose change of an image is a constant to the attacker: BPDA, with the identity as the backward pass.

    Source: Athalye et al. 2018, sec. 4.1.2.
    """

    def gradient(self, value: Value, images: Tensor) -> Tensor:
        """Return the gradient, detached."""
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(value(images).sum(), images)[0]

    def sign(self, gradient: Tensor) -> Tensor:
        """Return the signs."""
        return gradient.sign()


class Unrolled:
    """Steps that the attacker differentiates through; a sign has the derivative of tanh(g / mean |g|)."""

    def gradient(self, value: Value, images: Tensor) -> Tensor:
        """Return the gradient, itself differentiable; attention runs without the kernels that have no second one."""
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            images = images if images.requires_grad else images.requires_grad_()
            return torch.autograd.grad(value(images).sum(), images, create_graph=True)[0]

    def sign(self, gradient: Tensor) -> Tensor:
        """Return the signs."""
        scale = gradient.detach().abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        smooth = (gradient / scale).tanh()
        return smooth + (gradient.sign() - smooth).detach()
