"""Test-time counterattacks: move the image away from where it is, if its features barely react to noise."""

import torch
from torch import Tensor

from stages.defences.bpda import to_pixel_range
from stages.defences.inner import Inner
from stages.defences.resize_pad import Noise
from stages.defences.undefended import Undefended


def ttc(
    images: Tensor,
    model: Undefended,
    noise: Noise,
    inner: Inner,
    *,
    eps: float,
    steps: int,
    step_size: float,
    threshold: float,
    sharpness: float,
) -> Tensor:
    """Classify images after a counterattack, where the gate is open, or after its random start alone.

    d_0 is uniform in the ball; d_{t+1} = clip(d_t + step_size sign grad ||f(x + d_t) - f(x)||^2). If
    ||f(x + d_0) - f(x)|| / ||f(x)|| is below the threshold, the sum of w_t d_t is added, w_t ~ exp(sharpness · t),
    else d_0.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        model: The classifier.
        noise: Draws the start of each image, new in every call.
        inner: How an attacker differentiates the steps.
        eps: Radius of the counterattack, in 1/255 of the pixel range; 4 in the paper.
        steps: 2 in the paper.
        step_size: In 1/255; 1 in the paper.
        threshold: 0.2 in the paper, for ViT-B/32; other towers react less or more and need another one.
        sharpness: 2 in the paper.

    Returns:
        Logits (N, K); steps + 3 forward and steps backward passes.

    Source: Xing et al. 2025 (TTC, CVPR), sec. 3.
    """
    clean = model.encode(images)
    added = noise.uniform(tuple(images.shape[1:]), low=-eps / 255, high=eps / 255).to(images.device)
    is_open = inner.is_open(reaction(model.encode(to_pixel_range(images + added)), clean) - threshold)

    def distance(points: Tensor) -> Tensor:
        return (model.encode(to_pixel_range(points)) - clean).square().sum(-1)

    path = [added]
    for _ in range(steps):
        step = inner.sign(inner.gradient(distance, images + path[-1]))
        path.append((path[-1] + step_size / 255 * step).clamp(-eps / 255, eps / 255))
    weights = (sharpness * torch.arange(steps + 1, device=images.device, dtype=images.dtype)).softmax(0)
    counterattack = torch.einsum("t,tnchw->nchw", weights, torch.stack(path))
    return model.logits(to_pixel_range(images + torch.where(is_open[:, None, None, None], counterattack, added)))


def reaction(noisy: Tensor, clean: Tensor) -> Tensor:
    """Return how far features (N, D) have moved, as a share (N,) of their norm."""
    return (noisy - clean).norm(dim=-1) / clean.norm(dim=-1)
