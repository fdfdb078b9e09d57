"""Backward passes of defences for an adaptive attacker, and the mean over a random one."""

from collections.abc import Callable
from functools import partial, reduce

import torch
from torch import Tensor

Transform = Callable[[Tensor], Tensor]


def identity(images: Tensor) -> Tensor:
    """Return the images as they are."""
    return images


def straight_through(defence: Transform, surrogate: Transform = identity) -> Transform:
    """Return the defence with the identity, or the gradient of a differentiable surrogate, as its backward pass.

    For a defence without a gradient that leaves each pixel near its value. One that moves pixels, as `resize_pad` does,
    is differentiated as it is: straight through it, the gradient arrives at the wrong place and the attack is weak.

    Args:
        defence: Maps images (N, C, H, W) to images of that shape.
        surrogate: A differentiable approximation of it.

    Returns:
        The same forward, bit by bit; differentiable.

    Source: Athalye et al. 2018 (BPDA), sec. 4.1.1.
    """

    def transform(images: Tensor) -> Tensor:
        smooth = surrogate(images)
        return defence(images.detach()) + (smooth - smooth.detach())  # adds exact zeros, and the gradient

    return transform


def to_pixel_range(images: Tensor) -> Tensor:
    """Clamp to [0, 1]; an attacker's gradient passes, also where a pixel was clamped."""
    return straight_through(partial(torch.clamp, min=0, max=1))(images)


def expectation(objective: Transform, samples: int) -> Transform:
    """Return the mean of an objective over several calls: expectation over transformations (EOT), for a random victim.

    Args:
        objective: Maps images (N, C, H, W) to values (N,), other ones at every call.
        samples: Number of calls, at least 1; all of them are kept in memory until the backward pass.

    Source: Athalye et al. 2018 (EOT), sec. 4.2.
    """
    assert samples >= 1, samples
    return lambda images: reduce(torch.add, [objective(images) for _ in range(samples)]) / samples
