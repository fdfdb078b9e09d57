"""The anti-adversary: steps that make the model surer of its own prediction."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.bpda import to_pixel_range
from stages.defences.inner import Inner
from stages.defences.undefended import Undefended


def anti_adversary(images: Tensor, model: Undefended, inner: Inner, *, steps: int, step_size: float) -> Tensor:
    """Classify images after sign steps down the cross-entropy to the predicted class.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        model: The classifier.
        inner: How an attacker differentiates the steps.
        steps: Number of steps; 2 in the paper.
        step_size: In 1/255 of the pixel range; 0.15 · 8 in the paper.

    Returns:
        Logits (N, K); steps + 2 forward and steps backward passes.

    Source: Alfarra et al. 2022, eq. 2.
    """
    with torch.no_grad():
        predicted = model.logits(images).argmax(-1)

    def confidence(points: Tensor) -> Tensor:
        return -F.cross_entropy(model.logits(points), predicted, reduction="none")

    added = torch.zeros_like(images)
    for _ in range(steps):
        added = added + step_size / 255 * inner.sign(inner.gradient(confidence, images + added))
    return model.logits(to_pixel_range(images + added))
