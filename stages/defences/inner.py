"""Gradient steps, gates and views of a defence at test time, and how an attacker differentiates them.

Constant, Unrolled and Apart give the same images and logits; Closed is for the attacker alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Value = Callable[[Tensor], Tensor]  # images (N, 3, H, W) -> (N,)


class Inner(ABC):
    """Rule for the gradient steps of a defence, and for its gate or its views if it has any.

    Attributes:
        name: Prefix of the names of attacks through it.
    """

    name = ""

    @abstractmethod
    def gradient(self, value: Value, images: Tensor) -> Tensor:
        """Return the gradient (N, 3, H, W) of the value of each image."""

    def sign(self, gradient: Tensor) -> Tensor:
        """Return the signs of a gradient (N, 3, H, W)."""
        return gradient.sign()

    def is_open(self, distance: Tensor) -> Tensor:
        """Return which gates (N,) are open: those whose value is below its threshold, by the distance from it (N,)."""
        return distance < 0

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean logits (N, K) of views (N, V, K), or their sum by weights (N, V)."""
        return logits.mean(1) if weights is None else (weights[..., None] * logits).sum(1)


class Constant(Inner):
    """Steps whose change of an image is a constant to the attacker: BPDA, with the identity as the backward pass.

    Source: Athalye et al. 2018, sec. 4.1.2.
    """

    def gradient(self, value: Value, images: Tensor) -> Tensor:
        """Return the gradient, detached."""
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(value(images).sum(), images)[0]


class Apart(Constant):
    """Views kept apart: an attacker sees the logits of each, not only of all together.

    Attributes:
        logits: (N, V, K), of the views of the last images; differentiable. None where a defence has no views.
    """

    logits: Tensor | None = None

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """Keep the logits of the views, and combine them."""
        self.logits = logits
        return super().combine(logits, weights)


class Unrolled(Inner):
    """Steps that the attacker differentiates through; a sign has the derivative of tanh(g / mean |g|)."""

    name = "unrolled/"

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


class Closed(Inner):
    """A gate held shut, behind which no step is taken: how an attacker sees a defence that he will keep from acting.

    Attributes:
        distance: (N,), of the last images; differentiable. The gate of an image is really shut where it is 0 or more.
    """

    distance: Tensor

    def gradient(self, value: Value, images: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(images)

    def is_open(self, distance: Tensor) -> Tensor:
        """Keep the distance, and open no gate."""
        self.distance = distance
        return torch.zeros_like(distance, dtype=torch.bool)
