"""A linear classifier on frozen features: the last layer of a network, refitted on the training split."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.backbones import Backbone
from stages.models.device import to_tensor
from stages.models.surrogate import Shards
from stages.runtime.startup import without_compiler


class Surrogate(nn.Module):
    """A backbone under a linear head, frozen: images (N, 3, H, W) in [0, 1] -> logits (N, K)."""

    def __init__(self, backbone: Backbone, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        assert not any(module.training for module in self.modules()), "a surrogate is used in eval mode"
        return self.head(self.backbone(images))


def features_of(backbone: Backbone, shards: Shards, *, batch_size: int) -> tuple[Tensor, Tensor]:
    """Computes the features of all images, once.

    Args:
        backbone: Maps images to features of width D.
        shards: Called twice, to count and to read; yields pixels (n, H, W, 3), uint8, with labels (n,).
        batch_size: Images in a pass.

    Returns:
        Features (N, D), float32, and labels (N,), int64, on the backbone's device. They take 4·N·D bytes of it:
        ImageNet's 1.28 million images, 2,048 wide, 10.5 GB. Of the images there is one shard at a time.
    """
    device = backbone.mean.device
    total = sum(len(labels) for _, labels in shards())
    features = torch.empty(total, backbone.feature_width, device=device)
    targets = torch.empty(total, dtype=torch.long, device=device)
    done = 0
    for pixels, labels in shards():
        targets[done : done + len(labels)] = torch.tensor(labels, device=device)
        for start in range(0, len(labels), batch_size):
            images = to_tensor(pixels[start : start + batch_size], device)
            features[done : done + len(images)] = backbone(images)
            done += len(images)
    assert done == total, (done, total)
    return features, targets


def fit_head(
    features: Tensor, labels: Tensor, *, classes: int, epochs: int, batch_size: int, lr: float, seed: int
) -> nn.Linear:
    """Fits a linear classifier by cross-entropy: AdamW, lr down a cosine epoch by epoch.

    The problem is convex, so it starts at zero. The protocol of the paper's transfer attack: 90 epochs, batches of 200,
    lr 1e-3.

    Args:
        features: (N, D), float32.
        labels: (N,), int64, in 0 ... K - 1.
        classes: Number K of classes.
        epochs: Passes over the features.
        batch_size: Features in a step.
        lr: Learning rate of the first epoch.
        seed: Of the order.

    Returns:
        The classifier, on the features' device, frozen.
    """
    generator = torch.Generator().manual_seed(seed)
    head = nn.utils.skip_init(nn.Linear, features.shape[1], classes, device=features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    with without_compiler():
        optimizer = torch.optim.AdamW(head.parameters(), lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for chosen in torch.randperm(len(labels), generator=generator).to(labels.device).split(batch_size):
                F.cross_entropy(head(features[chosen]), labels[chosen]).backward()
                optimizer.step()
                optimizer.zero_grad()
            schedule.step()
    return head.requires_grad_(False)
