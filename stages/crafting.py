"""Stored images -> stored adversarial images: the attack loop between its two 8-bit borders."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.pgd import Direction, Objective, pgd
from stages.banks.images import Images
from stages.batches import over_batches
from stages.models.device import to_tensor
from stages.params import Attack, Runtime

Recipe = Callable[[Tensor, Tensor, ImageNoise], tuple[Objective, Direction | None]]


def craft_shard(
    recipe: Recipe, shard: Images, *, attack: Attack, seed: int, device: torch.device, runtime: Runtime
) -> Images:
    """Attacks a shard of stored images.

    Args:
        recipe: Makes the objective and the direction for images (N, C, H, W), labels (N,) and the images' noise.
        shard: Clean images.
        attack: Its eps in 1/255, its steps, and step_ratio, in eps / steps.
        seed: Key of the images' noise, beside their ids.
        device: Where to compute.
        runtime: How many images at a time, and how many batches side by side; neither changes an image.

    Returns:
        Adversarial images with the ids and labels of the clean ones, 8-bit, inside the ball.
    """
    ball = LinfBall(attack.eps / 255)

    def craft_batch(part: Images) -> np.ndarray:
        images, labels = to_tensor(part.pixels, device), torch.tensor(part.labels, device=device)
        noise = ImageNoise(seed, part.ids)
        objective, direction = recipe(images, labels, noise)
        step_size = attack.step_ratio * ball.eps / attack.steps
        images_adv = pgd(
            objective, images, ball=ball, step_size=step_size, steps=attack.steps, noise=noise, direction=direction
        )
        stored = ball.quantise(images_adv, images)
        assert ball.contains(stored, images)
        return stored.permute(0, 2, 3, 1).cpu().numpy()

    pixels = over_batches(craft_batch, shard, device=device, runtime=runtime)
    return Images(shard.ids, shard.labels, pixels)
