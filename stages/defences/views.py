"""Defences that average the logits of several views of an image, without any tuning."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.bpda import to_pixel_range
from stages.defences.resize_pad import Noise
from stages.defences.undefended import Undefended


def tte(images: Tensor, model: Undefended, *, shift: int) -> Tensor:
    """Average the logits of the image, its mirror image, and both moved towards the four corners.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        model: The classifier.
        shift: Pixels by which a view is moved along both axes; edge pixels fill up.

    Returns:
        Logits (N, K); ten forward passes.

    Source: Pérez et al. 2021 (test-time transformation ensembling): flips, four crops, and their flips.
    """
    assert shift >= 1, shift
    height, width = images.shape[-2:]
    padded = F.pad(images, (shift,) * 4, mode="replicate")
    ends = (0, 2 * shift)
    moved = [padded[..., top : top + height, left : left + width] for top in ends for left in ends]
    views = [images, *moved]
    return model.combine(torch.stack([model.logits(view) for one in views for view in (one, one.flip(-1))], dim=1))


def view_ensemble(images: Tensor, model: Undefended, noise: Noise, *, views: int, smallest: float) -> Tensor:
    """Average the logits of random square crops, enlarged to the image's size: an untuned ensemble.

    Args:
        images: Square images (N, 3, S, S), float32 in [0, 1].
        model: The classifier.
        noise: Draws the crops of each image, new in every call.
        views: Number of crops.
        smallest: Smallest side of a crop as a share of S, in (0, 1].

    Returns:
        Logits (N, K); as many forward passes as views.

    Source: the untuned reference of Sheng et al. 2025 (R-TPT) and of later methods that weigh views.
    """
    crops = (random_crop(images, noise, smallest=smallest) for _ in range(views))
    return model.combine(torch.stack([model.logits(crop) for crop in crops], dim=1))


def random_crop(images: Tensor, noise: Noise, *, smallest: float) -> Tensor:
    """Enlarge one random square crop of each image (N, 3, S, S) to its size; differentiable.

    Sides are uniform in [smallest · S, S], places uniform among those that fit; a crop need not end at a pixel.
    """
    assert images.shape[-1] == images.shape[-2] and 0 < smallest <= 1, (images.shape, smallest)
    size, left, top = noise.uniform((3,)).to(images).unbind(1)  # (N,)
    side = smallest + size * (1 - smallest)
    centre = torch.stack([left, top], 1) * (1 - side)[:, None] + side[:, None] / 2  # in [0, 1], (N, 2)
    matrix = torch.zeros(len(images), 2, 3, device=images.device, dtype=images.dtype)
    matrix[:, 0, 0] = matrix[:, 1, 1] = side
    matrix[:, :, 2] = 2 * centre - 1
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return to_pixel_range(F.grid_sample(images, grid, padding_mode="border", align_corners=False))
