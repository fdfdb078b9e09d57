"""Counterattacks towards the features of a smoothed image, where these are far from the image's own."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.bpda import to_pixel_range
from stages.defences.inner import Inner
from stages.defences.undefended import Undefended


def csr(
    images: Tensor,
    model: Undefended,
    inner: Inner,
    *,
    radius: float,
    threshold: float,
    eps: float,
    steps: int,
    step_size: float,
) -> Tensor:
    """Classify images after steps towards their low-pass version and away from themselves, where the gate is open.

    If cos(f(x), f(low)) is below the threshold, d maximises cos(f(x + d), f(low)) - cos(f(x + d), f(x)) from d = 0; of
    all steps the best one counts.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        model: The classifier.
        inner: How an attacker differentiates the steps.
        radius: Standard deviation of the Gaussian low pass in the frequency plane, in cycles per image.
        threshold: Cosine below which an image is taken for attacked; 0.85 in the paper.
        eps: Radius of the steps, in 1/255 of the pixel range; 4 in the paper.
        steps: 3 in the paper.
        step_size: In 1/255; 2 in the paper.

    Returns:
        Logits (N, K); 2 · steps + 3 forward and steps backward passes.

    Source: CSR (ICML 2026); radius 40 at 224 pixels.
    """
    clean, smooth = (F.normalize(model.encode(one), dim=-1) for one in (images, low_pass(images, radius=radius)))
    is_open = inner.is_open((clean * smooth).sum(-1) - threshold)

    def gain(points: Tensor) -> Tensor:
        features = F.normalize(model.encode(to_pixel_range(points)), dim=-1)
        return (features * (smooth - clean)).sum(-1)

    added, path = torch.zeros_like(images), []
    for _ in range(steps):
        step = inner.sign(inner.gradient(gain, images + added))
        added = (added + step_size / 255 * step).clamp(-eps / 255, eps / 255)
        path.append(added)
    with torch.no_grad():
        best = torch.stack([gain(images + one) for one in path]).argmax(0)  # (N,)
    chosen = torch.stack(path)[best, torch.arange(len(images), device=images.device)]
    return model.logits(to_pixel_range(images + torch.where(is_open[:, None, None, None], chosen, 0)))


def low_pass(images: Tensor, *, radius: float) -> Tensor:
    """Multiply the spectrum of images (N, 3, H, W) by exp(-r^2 / (2 radius^2)), r in cycles per image.

    Differentiable; the result is clamped to [0, 1].
    """
    height, width = images.shape[-2:]
    rows = torch.fft.fftfreq(height, 1 / height, device=images.device)[:, None]
    columns = torch.fft.rfftfreq(width, 1 / width, device=images.device)
    keep = (-(rows.square() + columns.square()) / (2 * radius**2)).exp()
    return to_pixel_range(torch.fft.irfft2(torch.fft.rfft2(images) * keep, s=(height, width)))
