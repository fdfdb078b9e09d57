"""CLIPure-Cos: move the image feature towards the feature of a blank text. A known-bad defence, kept as a canary."""

import torch.nn.functional as F
from torch import Tensor

from stages.defences.inner import Inner
from stages.defences.undefended import Undefended


def clipure_cos(
    images: Tensor, model: Undefended, inner: Inner, *, blank: Tensor, steps: int, step_size: float
) -> Tensor:
    """Classify image features after steps on the sphere towards a blank text.

    u = e / ||e||; steps times u <- u + step_size · d, d the unit tangent at u towards the blank text, and
    u <- u / ||u||. With the published step size of 30 a step turns u by 88.1 degrees, so an even number of them ends
    where it began if the cosine to the blank text exceeds 0.033, and otherwise as far behind that text. The authors'
    code takes d for a constant, so that each step divides the gradient by about 30 (`Constant`); an attack through that
    sees nearly none. Attacks through `Unrolled` steps, or
    on the undefended model, go through.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        model: The classifier.
        inner: How an attacker differentiates the steps.
        blank: Feature (D,) of a text without a class, such as "a photo of a .".
        steps: 10 in the paper.
        step_size: 30 in the paper.

    Returns:
        Logits (N, K); one forward pass.

    Source: Zhang et al. 2025 (CLIPure, ICLR), CLIPure-Cos; the norm is taken for each image.
    """
    features = F.normalize(model.encode(images), dim=-1)
    for _ in range(steps):
        towards = inner.gradient(lambda points: F.cosine_similarity(points, blank[None]), features)
        features = F.normalize(features + step_size * F.normalize(towards, dim=-1), dim=-1)
    return model.classify(features)
