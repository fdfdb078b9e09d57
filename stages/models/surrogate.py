"""A small CNN for transfer attacks: it learns the training split and never sees the CLIP that it stands in for."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.device import to_tensor
from stages.runtime.startup import without_compiler


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
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


Shards = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]  # pixels (n, H, W, 3), uint8, with labels (n,)
SHUFFLED = 1000  # images that are shuffled together, whatever the sizes of the shards


def fit_surrogate(
    shards: Shards,
    *,
    classes: int,
    width: int,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: torch.device,
) -> SmallCnn:
    """Train a SmallCnn: AdamW, one-cycle schedule, random flips; every 1000 images are shuffled.

    Args:
        shards: Called once an epoch and once before; yields pixels (n, H, W, 3), uint8, with labels (n,).
        classes: Number K of classes.
        width: Channels of the first convolution.
        epochs: Passes over the images.
        batch_size: Images in a step.
        lr: Highest learning rate.
        seed: Of weights, order and flips.
        device: Where to train.

    Returns:
        The network in eval mode, frozen.
    """
    generator = torch.Generator().manual_seed(seed)
    network = SmallCnn(width, classes, generator=generator).to(device)
    steps = epochs * sum(math.ceil(len(labels) / batch_size) for _, labels in blocks(shards()))
    with without_compiler():
        optimizer = torch.optim.AdamW(network.parameters(), lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        for pixels, labels in chain.from_iterable(blocks(shards()) for _ in range(epochs)):
            order = torch.randperm(len(labels), generator=generator)
            for chosen in map(Tensor.numpy, order.split(batch_size)):  # numpy takes a tensor of one for a scalar
                images = to_tensor(pixels[chosen], device)
                flipped = torch.rand(len(chosen), 1, 1, 1, generator=generator).to(device) < 0.5
                logits = network(torch.where(flipped, images.flip(-1), images))
                F.cross_entropy(logits, torch.tensor(labels[chosen], device=device)).backward()
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
    return network.eval().requires_grad_(False)


def blocks(shards: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the images of shards of any sizes in blocks of SHUFFLED images, the last one smaller."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    for shard in shards:
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*held, shard, strict=True))
        while len(labels) >= SHUFFLED:
            yield pixels[:SHUFFLED], labels[:SHUFFLED]
            pixels, labels = pixels[SHUFFLED:], labels[SHUFFLED:]
        held = [(pixels, labels)]
    yield from (block for block in held if len(block[1]))


@torch.inference_mode()
def accuracy_on(network: nn.Module, shards: Shards, *, batch_size: int, device: torch.device) -> float:
    """The share of images that a surrogate, in eval mode, gets right."""
    assert not any(module.training for module in network.modules()), "a surrogate is used in eval mode"
    right = total = 0
    for pixels, labels in shards():
        for chosen in np.array_split(np.arange(len(labels)), math.ceil(len(labels) / batch_size)):
            predictions = network(to_tensor(pixels[chosen], device)).argmax(-1).cpu().numpy()
            right, total = right + int((predictions == labels[chosen]).sum()), total + len(chosen)
    return right / total
