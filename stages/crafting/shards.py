"""Attack shards of 8-bit images; the result is 8-bit again and inside the ball."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.crafting.batching import Batching, even_batches, fitting, over_batches
from stages.models.device import to_tensor
from stages.runtime.params import Params
from stages.storage.images import Images, write_shard

# Maps images (N, C, H, W), labels (N,) and the images' noise to adversarial images inside the ball.
Attack = Callable[[Tensor, Tensor, ImageNoise], Tensor]


class Steps(NamedTuple):
    """Ball, step size and number of steps of an attack, in units of the pixel range, which is 1."""

    ball: LinfBall
    step_size: float
    steps: int


def steps_of(eps: float, steps: int, step_ratio: float) -> Steps:
    """Convert the units of params.yaml: eps in 1/255, step_ratio in eps / steps."""
    ball = LinfBall(eps / 255)
    return Steps(ball, step_ratio * ball.eps / steps, steps)


def craft_shard(
    attack: Attack, shard: Images, *, ball: LinfBall, seed: int, device: torch.device, batching: Batching
) -> Images:
    """Attack a shard of stored images.

    Args:
        attack: Attacks a batch.
        shard: Clean images.
        ball: The set that the result may not leave.
        seed: Seed of the noise, which also depends on the ids of the images.
        device: Where to compute.
        batching: How many batches, and how many side by side; it changes no image, except for AutoAttack and Square.

    Returns:
        Adversarial images with the ids and labels of the clean ones, 8-bit, inside the ball.
    """

    def craft_batch(part: Images) -> np.ndarray:
        images, labels = to_tensor(part.pixels, device), torch.tensor(part.labels, device=device)
        stored = ball.quantise(attack(images, labels, ImageNoise(seed, part.ids)), images)
        assert ball.contains(stored, images)
        return stored.permute(0, 2, 3, 1).cpu().numpy()

    return Images(shard.ids, shard.labels, over_batches(craft_batch, shard, batching))


class AttackWorker:
    """Base of workers (stages/runtime/engine.py) that attack shards of images, without their facts.

    Args:
        params: The parameters.
        attack: The attack.
        encode: The network whose gradients it takes; they decide how many images fit into memory.
        eps: Radius of the attack, in 1/255.
        image_size: H and W, in pixels.
        device: Where to compute.

    Attributes:
        device: Where it computes.
    """

    def __init__(
        self,
        params: Params,
        attack: Attack,
        encode: Callable[[Tensor], Tensor],
        *,
        eps: float,
        image_size: int,
        device: torch.device,
    ) -> None:
        self.device = device
        self._attack, self._ball, self._seed = attack, LinfBall(eps / 255), params.seed
        self._runtime = fitting(params.runtime, encode, image_size, device)

    def attack(self, path: Path, shard_index: int, shard: Images) -> None:
        """Attack a shard and write the adversarial images."""
        batching = even_batches(self._runtime, len(shard), self.device.type)
        crafted = craft_shard(
            self._attack, shard, ball=self._ball, seed=self._seed, device=self.device, batching=batching
        )
        write_shard(path, crafted)
