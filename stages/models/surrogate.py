"""A small CNN for transfer attacks: it learns the training split and never sees the CLIP that it stands in for."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.lazily import without_compiler


class SmallCnn(nn.Sequential):
    """Three strided convolutions, average pool, linear head: images (N, 3, H, W) in [0, 1] -> logits (N, K)."""

    def __init__(self, width: int, classes: int, *, generator: torch.Generator) -> None:
        channels = [3, width, 2 * width, 4 * width]
        blocks = [
            layer
            for before, after in pairwise(channels)
            for layer in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU())
        ]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)


def fit_surrogate(
    images: Tensor, labels: Tensor, *, classes: int, width: int, epochs: int, batch_size: int, lr: float, seed: int
) -> SmallCnn:
    """Trains a SmallCnn on images (N, 3, H, W) in [0, 1] with labels (N,): AdamW, one-cycle schedule, random flips.

    Returns:
        The network in eval mode, frozen.
    """
    generator = torch.Generator().manual_seed(seed)
    network = SmallCnn(width, classes, generator=generator).to(images.device)
    with without_compiler():
        optimizer = torch.optim.AdamW(network.parameters(), lr)
        steps = epochs * math.ceil(len(images) / batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        for _ in range(epochs):
            for chosen in torch.randperm(len(images), generator=generator).split(batch_size):
                flipped = torch.rand(len(chosen), 1, 1, 1, generator=generator).to(images.device) < 0.5
                batch = torch.where(flipped, images[chosen].flip(-1), images[chosen])
                optimizer.zero_grad()
                F.cross_entropy(network(batch), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
    return network.eval().requires_grad_(False)
