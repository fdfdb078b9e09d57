"""A transfer attack: fit a surrogate to the training split, attack it, and measure its own accuracy."""

from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stages.attacks.directions import TranslationInvariant
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, diverse, max_logit
from stages.attacks.pgd import Direction, Momentum, pgd
from stages.attacks.rap import reverse
from stages.crafting.shards import Attack, AttackWorker, steps_of
from stages.models.backbones import load_backbone
from stages.models.device import choose_device, to_tensor
from stages.models.linear_head import Surrogate, features_of, fit_head
from stages.models.surrogate import accuracy_on, fit_surrogate
from stages.runtime.engine import WorkerFacts
from stages.runtime.params import Backbone, Params, SmallCnn, Transfer
from stages.storage.images import read_images

OBJECTIVES = {"cross_entropy": cross_entropy, "max_logit": max_logit}


class TransferAttackWorker(AttackWorker):
    """A worker that attacks shards through a surrogate that was fitted to the training split.

    Args:
        params: The parameters.
        settings: The attack.
        train: Folder of the training images, to which the surrogate is fitted.
        image_size: H and W, in pixels.
    """

    def __init__(self, params: Params, settings: Transfer, train: Path, image_size: int) -> None:
        device = choose_device(params.runtime.device)
        self._surrogate, about = fit_to(settings.surrogate, train, params.seed, device)
        self._batch_size = settings.surrogate.batch_size
        attack = transfer_attack(settings, self._surrogate)
        super().__init__(params, attack, self._surrogate, eps=settings.eps, image_size=image_size, device=device)
        self.facts = WorkerFacts(device.type, provenance={"surrogate": about})

    def surrogate_accuracy(self, clean: Path, attacked: Path) -> dict[str, float]:
        """Return the accuracy of the surrogate on a folder of clean images and on the same images attacked."""
        return surrogate_accuracy(self._surrogate, clean, attacked, self._batch_size, self.device)


def transfer_attack(settings: Transfer, network: nn.Module) -> Attack:
    """Return a black-box attack that maximises an objective of a surrogate with momentum and input diversity."""
    ball, step_size, steps = steps_of(settings.eps, settings.steps, settings.step_ratio)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        objective = diverse(
            OBJECTIVES[settings.objective](network, labels),
            probability=settings.diversity,
            smallest=settings.smallest,
            noise=noise,
        )
        if settings.reverse:
            objective = reverse(
                objective,
                inner=cross_entropy(network, labels),
                ball=LinfBall(settings.reverse.eps / 255),
                steps=settings.reverse.steps,
                from_call=settings.reverse.from_step,
                noise=noise.beside("reverse"),
            )
        direction: Direction = Momentum(settings.momentum)
        if settings.translation:
            direction = TranslationInvariant(settings.translation, direction)
        return pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise, direction=direction)

    return attack


def fit_to(
    settings: SmallCnn | Backbone, train: Path, seed: int, device: torch.device
) -> tuple[nn.Module, dict[str, object]]:
    """Fit a surrogate to the training split.

    Returns:
        The network, images (N, 3, H, W) in [0, 1] -> logits (N, K), frozen; and its provenance.
    """

    def shards() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((shard.pixels, shard.labels) for shard in read_images(train))

    classes = 1 + max(int(labels.max()) for _, labels in shards())
    fitting = settings.model_dump(exclude={"name", "pretrained"})
    about: dict[str, object] = {"name": settings.name}
    network: nn.Module
    if isinstance(settings, SmallCnn):
        network = fit_surrogate(shards, classes=classes, seed=seed, device=device, **fitting)
    else:
        backbone = load_backbone(settings.name, pretrained=settings.pretrained, device=device)
        features, labels = features_of(backbone, shards, batch_size=settings.batch_size)
        network = Surrogate(backbone, fit_head(features, labels, classes=classes, seed=seed, **fitting))
        about["sha256"] = backbone.sha256
    accuracy = accuracy_on(network, shards, batch_size=settings.batch_size, device=device)
    return network, {**about, "train_accuracy": round(accuracy, 4)}


@torch.no_grad()
def surrogate_accuracy(
    network: nn.Module, clean: Path, attacked: Path, batch_size: int, device: torch.device
) -> dict[str, float]:
    """Return the clean and the robust accuracy of a surrogate; robust means correct on both images."""

    def correct(folder: Path) -> np.ndarray:
        parts = (part for shard in read_images(folder) for part in shard.split(ceil(len(shard) / batch_size)))
        return np.concatenate(
            [network(to_tensor(part.pixels, device)).argmax(-1).cpu().numpy() == part.labels for part in parts]
        )

    on_clean = correct(clean)
    on_both = on_clean & correct(attacked)
    return {"clean_accuracy": round(float(on_clean.mean()), 4), "robust_accuracy": round(float(on_both.mean()), 4)}
