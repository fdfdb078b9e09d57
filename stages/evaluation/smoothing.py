"""Randomised smoothing: a certified lower bound of robustness in L2, beside the upper bounds of attacks.

The smoothed classifier answers with the class that the base classifier gives most often under Gaussian noise. With
probability 1 - alpha over the draws, no attack within the certified radius changes its answer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest, norm
from torch import Tensor

ABSTAIN = -1


class Certificate(NamedTuple):
    """Certified predictions of N images.

    Attributes:
        predictions: Classes (N,); ABSTAIN where none is certified.
        radii: L2 radii (N,), in units of the pixel range; 0 where none is certified.
    """

    predictions: np.ndarray
    radii: np.ndarray


def certify(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    sigma: float,
    selection: int,
    draws: int,
    alpha: float,
    batch_size: int,
    generator: torch.Generator,
) -> Certificate:
    """Certify the smoothed version of a classifier.

    Args:
        logits_of: Maps images (n, C, H, W) to logits (n, K); noisy images may lie outside [0, 1].
        images: (N, C, H, W), float32 in [0, 1].
        sigma: Standard deviation of the noise, in units of the pixel range.
        selection: Draws that choose the class.
        draws: Other draws that estimate its probability.
        alpha: Probability that a certificate is wrong.
        batch_size: Noisy images at a time.
        generator: Source of the noise, on the CPU.

    Returns:
        Predictions and radii sigma · Phi^-1(p), p the lower Clopper-Pearson bound of the class's probability.

    Source: Cohen et al. 2019, algorithm "Certify".
    """
    found = []
    for image in images:
        first = class_counts(logits_of, image, sigma=sigma, draws=selection, batch_size=batch_size, generator=generator)
        top = int(first.argmax())
        second = class_counts(logits_of, image, sigma=sigma, draws=draws, batch_size=batch_size, generator=generator)
        found.append((top, radius(int(second[top]), draws, sigma=sigma, alpha=alpha)))
    predictions, radii = (np.array(values) for values in zip(*found, strict=True))
    return Certificate(np.where(radii > 0, predictions, ABSTAIN), radii)


def radius(count: int, draws: int, *, sigma: float, alpha: float) -> float:
    """Return the certified radius of a class that was given `count` times in `draws`; 0 if it may be below one half."""
    # a one-sided bound at level alpha is the lower end of a two-sided interval at 2 alpha
    lower = binomtest(count, draws).proportion_ci(1 - 2 * alpha, method="exact").low
    return float(sigma * norm.ppf(lower)) if lower > 0.5 else 0.0


@torch.no_grad()
def class_counts(
    logits_of: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    sigma: float,
    draws: int,
    batch_size: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Return how often each class (K,) is predicted for noisy versions of an image (C, H, W)."""
    counts: Tensor | int = 0
    for start in range(0, draws, batch_size):
        noise = torch.randn(min(batch_size, draws - start), *image.shape, generator=generator).to(image.device)
        logits = logits_of(image + sigma * noise)
        counts = counts + torch.bincount(logits.argmax(-1), minlength=logits.shape[-1])
    assert isinstance(counts, Tensor)
    return counts.cpu().numpy()


def certified_accuracy(certificate: Certificate, labels: np.ndarray, radii: list[float]) -> list[float]:
    """Return the share of images whose class is right and certified at each L2 radius, 0 for smoothed accuracy."""
    right = certificate.predictions == labels
    return [float((right & (certificate.radii >= radius) & (certificate.radii > 0)).mean()) for radius in radii]
