"""Stored images -> stored adversarial images: the attack loop between its two 8-bit borders."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.pgd import Direction, Objective, pgd
from stages.banks.images import Images
from stages.models.device import to_tensor

Recipe = Callable[[Tensor, Tensor, ImageNoise], tuple[Objective, Direction | None]]


def craft_shard(
    recipe: Recipe,
    shard: Images,
    *,
    eps: float,
    step_size: float,
    steps: int,
    seed: int,
    device: torch.device,
    batch_size: int,
) -> Images:
    """Attacks a shard of stored images.

    Args:
        recipe: Makes the objective and the direction for images (N, C, H, W), labels (N,) and the images' noise.
        shard: Clean images.
        eps: Radius of the L-infinity ball, in 1/255.
        step_size: Step per iteration, in 1/255.
        steps: Gradient steps.
        seed: Key of the images' noise, beside their ids.
        device: Where to compute.
        batch_size: Images at a time; changes no image.

    Returns:
        Adversarial images with the ids and labels of the clean ones, 8-bit, inside the ball.
    """
    ball = LinfBall(eps / 255)
    parts = []
    for start in range(0, len(shard), batch_size):
        part = shard.take(np.arange(start, min(start + batch_size, len(shard))))
        images, labels = to_tensor(part.pixels, device), torch.tensor(part.labels, device=device)
        noise = ImageNoise(seed, part.ids)
        objective, direction = recipe(images, labels, noise)
        images_adv = pgd(
            objective, images, ball=ball, step_size=step_size / 255, steps=steps, noise=noise, direction=direction
        )
        stored = ball.quantise(images_adv, images)
        assert ball.contains(stored, images)
        parts.append(stored.permute(0, 2, 3, 1).cpu().numpy())
    return Images(shard.ids, shard.labels, np.concatenate(parts))
