"""Training images attacked through a prompt, each with one of several eps, and embedded again."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, margin, runner_up
from stages.attacks.pgd import Objective, pgd
from stages.crafting.batching import even_batches
from stages.crafting.embedding import embed_shard
from stages.crafting.shards import Attack, craft_shard, steps_of
from stages.models.clip import Clip
from stages.models.logits import cosine_logits
from stages.runtime.params import Refresh, Runtime
from stages.storage.embeddings import Bank
from stages.storage.images import Images

Encoder = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Refresher:
    """How to attack and embed.

    Attributes:
        clip: The victim's towers.
        settings: The block `refresh`.
        seed: Of all noise.
        device: Where to compute.
        runtime: With a batch size that fits.
    """

    clip: Clip
    settings: Refresh
    seed: int
    device: torch.device
    runtime: Runtime

    @cached_property
    def encode(self) -> Encoder:
        """The image tower, for those who want its gradient alone."""
        return self.clip.gradient_encoder()

    def embedded(self, shard: Images, text_features: Tensor, *, round_index: int) -> tuple[Bank, np.ndarray]:
        """Attacks N clean images through text features (K, D), as they would be stored, and embeds the outcome.

        Returns:
            The embeddings, and the eps (N,) of each attack, in 1/255.
        """

        def logits_of(images: Tensor) -> Tensor:
            return cosine_logits(self.encode(images), text_features, self.clip.logit_scale)

        eps = eps_of(shard.ids, self.settings.eps, round_index=round_index, seed=self.seed)
        attacked = np.empty_like(shard.pixels)
        for radius in np.unique(eps):
            part = shard.take(eps == radius)
            crafted = craft_shard(
                prompt_attack(self.settings, logits_of, eps=radius, round_index=round_index),
                part,
                ball=LinfBall(radius / 255),
                seed=self.seed,
                device=self.device,
                batching=even_batches(self.runtime, len(part), self.device.type),
            )
            attacked[eps == radius] = crafted.pixels
        images = Images(shard.ids, shard.labels, attacked)
        return embed_shard(self.clip, images, device=self.device, runtime=self.runtime), eps


def eps_of(ids: list[str], choices: list[float], *, round_index: int, seed: int) -> np.ndarray:
    """The eps (N,) that each image meets: in its first round one by chance, in every other round the next one."""
    if len(choices) == 1:
        return np.full(len(ids), choices[0], float)
    drawn = ImageNoise(seed, ids).beside("eps").uniform(()).numpy()
    return np.array(choices, float)[((len(choices) * drawn).astype(int) + round_index) % len(choices)]


def prompt_attack(settings: Refresh, logits_of: Encoder, *, eps: float, round_index: int) -> Attack:
    """PGD through a prompt, eps in 1/255; each round starts from other noise."""
    ball, step_size, steps = steps_of(eps, settings.steps, settings.step_ratio)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        objective = objective_of(settings.objective, logits_of, labels, images)
        noise = noise.beside(f"turn {round_index}")
        return pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise)

    return attack


def objective_of(name: str, logits_of: Encoder, labels: Tensor, images: Tensor) -> Objective:
    """What the attack maximises, by its name in params.yaml."""
    if name == "runner_up":
        return runner_up(logits_of, labels, images)
    return {"cross_entropy": cross_entropy, "margin": margin}[name](logits_of, labels)
