"""Total variation denoising as a defence."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.bpda import to_pixel_range

STEPS = 30  # of Chambolle's method


def total_variation(images: Tensor, *, weight: float) -> Tensor:
    """Minimise ||new - image||^2 / 2 + weight * TV(new) for each channel, nearly, by 30 steps of Chambolle's method.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        weight: How much smoothness counts against nearness; a region of P pixels and perimeter p that stands out loses
            weight * p / P of its height, until nothing stands out.

    Returns:
        (N, 3, H, W), float32 in [0, 1]; differentiable, by way of all steps.

    Source: Chambolle 2004; as a defence Guo et al. 2018, who drop pixels at random as well.
    """
    new, flow = images, torch.zeros(2, *images.shape).to(images)
    for _ in range(STEPS):
        slopes = torch.stack([F.pad(new.diff(dim=-2), (0, 0, 0, 1)), F.pad(new.diff(dim=-1), (0, 1))])
        length = torch.linalg.vector_norm(slopes, dim=0)  # whose gradient is 0, not infinite, where an image is flat
        flow = (flow - slopes / 4) / (1 + length / (4 * weight))
        down, across = flow
        new = images - F.pad(down, (0, 0, 1, 0)).diff(dim=-2) - F.pad(across, (1, 0)).diff(dim=-1)
    return to_pixel_range(new)
