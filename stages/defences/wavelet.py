"""Wavelet denoising as a defence."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.bpda import straight_through, to_pixel_range


def wavelet(images: Tensor, *, sigma: float) -> Tensor:
    """Shrink the coefficients of a Haar transform of each channel softly, each band by its own BayesShrink threshold.

    Three levels fewer than the sides allow, but at least one, so 2 at 32 pixels and 4 at 224.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        sigma: Standard deviation of the noise, in units of the pixel range; 0.02 in AdvPT's paper.

    Returns:
        (N, 3, H, W), float32 in [0, 1]; differentiable. The gradient is the mean of the function's own and of the
        identity's: its own is 0 for coefficients that are shrunk to 0, though a larger step would bring them back.

    Source: Chang et al. 2000, eqs. 12 to 14; combined with AdvPT in arXiv 2311.11261.
    """
    levels = max(min(images.shape[-2:]).bit_length() - 4, 1)
    shrink = partial(shrunk, sigma=sigma, levels=levels)
    return to_pixel_range(straight_through(shrink, surrogate=lambda images: (images + shrink(images)) / 2)(images))


def shrunk(images: Tensor, sigma: float, levels: int) -> Tensor:
    """Shrink the coefficients of so many levels of images (N, 3, H, W); an odd side is extended by a pixel."""
    if levels == 0:
        return images
    height, width = images.shape[-2:]
    quads = F.pixel_unshuffle(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2).unflatten(1, (-1, 4))
    haar = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]).to(images) / 2
    means, *details = (sum(sign * quads[:, :, place] for place, sign in enumerate(row)) for row in haar)
    bands = torch.stack([shrunk(means, sigma, levels - 1), *(shrunk_band(band, sigma) for band in details)], 2)
    quads = torch.stack([sum(sign * bands[:, :, place] for place, sign in enumerate(row)) for row in haar], 2)
    return F.pixel_shuffle(quads.flatten(1, 2), 2)[..., :height, :width]


def shrunk_band(band: Tensor, sigma: float) -> Tensor:
    """Move the coefficients of a band (N, 3, H, W) towards 0 by sigma^2 / sqrt(max(mean square - sigma^2, 0))."""
    power = band.double().square().mean((-2, -1), keepdim=True).to(band)  # does not depend on how many images there are
    threshold = sigma**2 / (power - sigma**2).clamp_min(1e-7).sqrt()
    return band.sign() * (band.abs() - threshold).clamp_min(0)
