"""Attack training images through the classifier that is being tuned, each with one of several eps, and embed them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, margin
from stages.attacks.pgd import pgd
from stages.crafting.batching import even_batches, fitting
from stages.crafting.embedding import embed_shard
from stages.crafting.shards import Attack, craft_shard, steps_of
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.models.logits import cosine_logits
from stages.runtime.engine import WorkerFacts
from stages.runtime.params import Params, Refreshed
from stages.storage.embeddings import Bank, round_table
from stages.storage.images import Images
from stages.storage.parquet import write_table

OBJECTIVES = {"cross_entropy": cross_entropy, "margin": margin}


class RefreshWorker:
    """A worker (stages/runtime/engine.py) that attacks and embeds shards.

    Args:
        params: The parameters.
        settings: The method's block.
        labels: The classes that take part, as the data set labels them.
        clip: The model, if it is loaded already.
    """

    def __init__(self, params: Params, settings: Refreshed, labels: range, clip: Clip | None = None) -> None:
        self._settings, self._labels, self._seed = settings, labels, params.seed
        self._device = choose_device(params.runtime.device)
        self._clip = clip or load_clip(**params.model.model_dump(), device=self._device)
        self._encode = self._clip.gradient_encoder()
        self._runtime = fitting(params.runtime, self._encode, self._clip.image_size, self._device)
        precision = {"precision": self._clip.precision}
        self.facts = WorkerFacts(self._device.type, self._clip.fingerprint, precision)

    def attack(
        self,
        path: Path,
        shard_index: int,
        shard: Images,
        *,
        text_features: np.ndarray,
        logit_bias: np.ndarray,
        round_index: int,
        seed: int | None,
    ) -> None:
        """Attack the images of a shard that take part, and write their embeddings.

        Args:
            path: Where to.
            shard_index: Index of the file in its folder.
            shard: The images.
            text_features: (K, D), of the classifier.
            logit_bias: (K,), of the classifier.
            round_index: Which round, from 0.
            seed: The classifier's tuning seed; None if all seeds share it.
        """
        part = shard.take(np.isin(shard.labels, self._labels))
        part = Images(part.ids, part.labels - self._labels.start, part.pixels)
        features, bias = (torch.tensor(array, device=self._device) for array in (text_features, logit_bias))

        def logits_of(images: Tensor) -> Tensor:
            return cosine_logits(self._encode(images), features, self._clip.logit_scale) + bias

        bank, eps = self.embedded(part, logits_of, round_index=round_index)
        write_table(path, [round_table(bank, round_index=round_index + 1, seed=seed, eps=eps)], {})

    def embedded(
        self, images: Images, logits_of: Callable[[Tensor], Tensor], *, round_index: int
    ) -> tuple[Bank, np.ndarray]:
        """Attack N clean images, round the result as it would be stored, and embed it.

        Returns:
            The embeddings, and the eps (N,) of each attack, in 1/255.
        """
        eps = eps_of(images.ids, self._settings.eps, round_index=round_index, seed=self._seed)
        attacked = np.empty_like(images.pixels)
        for radius in np.unique(eps):
            part = images.take(eps == radius)
            crafted = craft_shard(
                attack_of(self._settings, logits_of, eps=radius, round_index=round_index),
                part,
                ball=LinfBall(radius / 255),
                seed=self._seed,
                device=self._device,
                batching=even_batches(self._runtime, len(part), self._device.type),
            )
            attacked[eps == radius] = crafted.pixels
        stored = Images(images.ids, images.labels, attacked)
        return embed_shard(self._clip, stored, device=self._device, runtime=self._runtime), eps


def eps_of(ids: list[str], choices: list[float], *, round_index: int, seed: int) -> np.ndarray:
    """Return the eps (N,) of each image: a random one in the first round, in every other round the next one."""
    if len(choices) == 1:
        return np.full(len(ids), choices[0], float)
    drawn = ImageNoise(seed, ids).beside("eps").uniform(()).numpy()
    return np.array(choices, float)[((len(choices) * drawn).astype(int) + round_index) % len(choices)]


def attack_of(settings: Refreshed, logits_of: Callable[[Tensor], Tensor], *, eps: float, round_index: int) -> Attack:
    """Return PGD through a classifier, eps in 1/255; each round starts from other noise."""
    ball, step_size, steps = steps_of(eps, settings.steps, settings.step_ratio)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        objective = OBJECTIVES[settings.objective](logits_of, labels)
        noise = noise.beside(f"turn {round_index}")  # a key of the noise: another word would change every result
        return pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise)

    return attack
