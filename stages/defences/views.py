"""Defences that average the logits of several views of an image, without any tuning."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.bpda import to_pixel_range
from stages.defences.resize_pad import Noise
from stages.defences.undefended import Undefended

ROWS = 128  # images in the tower at a time, unless a single view has more


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
    views = [view for one in (images, *moved) for view in (one, one.flip(-1))]
    return model.combine(of_views(model.logits, views))


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
    crops = [random_crop(images, noise, smallest=smallest) for _ in range(views)]
    return model.combine(of_views(model.logits, crops))


def of_views(function: Callable[[Tensor], Tensor], views: list[Tensor]) -> Tensor:
    """Apply a function of images to V views of N images, up to ROWS at a time, which is faster for small models.

    Args:
        function: Maps images (n, 3, H, W) to logits or features (n, D), image by image.
        views: Images (N, 3, H, W) of each view.

    Returns:
        (N, V, D).
    """
    count = len(views[0])
    together = max(ROWS // count, 1)
    batches = [torch.cat(views[first : first + together]) for first in range(0, len(views), together)]
    return torch.cat([function(batch).unflatten(0, (-1, count)) for batch in batches]).transpose(0, 1)


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
