"""Energy descent at test time: move the image to where the model finds it likelier."""

from torch import Tensor

from stages.defences.bpda import to_pixel_range
from stages.defences.inner import Inner
from stages.defences.undefended import Undefended


def et3(images: Tensor, model: Undefended, inner: Inner, *, steps: int, step_size: float, eps: float) -> Tensor:
    """Classify images after gradient steps down the energy -logsumexp of the logits.

    x <- x - step_size · g / ||g||_2, kept within eps of the image and in [0, 1].

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        model: The classifier.
        inner: How an attacker differentiates the steps.
        steps: 5 in the paper.
        step_size: Length of a step, the L2 norm of all pixels in [0, 1]; 2.5 at 224 pixels in the paper. At S pixels
            2.5 · S / 224 changes each pixel as much.
        eps: In 1/255 of the pixel range; 10 in the paper.

    Returns:
        Logits (N, K); steps + 1 forward and steps backward passes.

    Source: ET3 (CVPR 2026).
    """

    def likelihood(points: Tensor) -> Tensor:
        return model.logits(points).logsumexp(-1)

    points = images
    for _ in range(steps):
        gradient = inner.gradient(likelihood, points)
        points = points + step_size * gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        points = to_pixel_range(images + (points - images).clamp(-eps / 255, eps / 255))
    return model.logits(points)
