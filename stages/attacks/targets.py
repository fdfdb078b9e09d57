"""Wrong classes for targeted attacks to aim at."""

from collections.abc import Callable

import torch
from torch import Tensor

CANDIDATES = 9  # classes of which gradients are taken, one backward pass for each: those with the largest logits


def nearest_classes(logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the wrong classes whose boundary is nearest in L-infinity if the logits were linear in the pixels.

    The distance to the boundary of class t is (z_y - z_t) / ||grad (z_t - z_y)||_1.

    Args:
        logits_of: Maps images (N, C, H, W) to logits (N, K).
        images: Clean images (N, C, H, W).
        labels: Right classes (N,).
        count: How many classes; no more than K - 1 and than `CANDIDATES` are returned.

    Returns:
        Classes (N, min(count, K - 1, CANDIDATES)), the nearest first.

    Source: Moosavi-Dezfooli et al. 2016 (DeepFool), eq. 10 for p = infinity.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = logits_of(images)
        right = logits.gather(1, labels[:, None])[:, 0]
        wrong = logits.detach().scatter(1, labels[:, None], -torch.inf)
        candidates = wrong.topk(min(CANDIDATES, logits.shape[1] - 1), dim=1).indices
        distances = []
        for classes in candidates.unbind(1):
            gap = right - logits.gather(1, classes[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(gap.sum(), images, retain_graph=True)
            distances.append(gap.detach() / gradient.abs().sum((1, 2, 3)).clamp_min(1e-12))
    order = torch.stack(distances, 1).argsort(dim=1, stable=True)
    return candidates.gather(1, order)[:, :count]
