"""Projected gradient ascent: the one attack loop of this project."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise

Objective = Callable[[Tensor], Tensor]
Direction = Callable[[Tensor], Tensor]


def pgd(
    objective: Objective,
    images: Tensor,
    *,
    ball: LinfBall,
    step_size: float,
    steps: int,
    noise: ImageNoise,
    direction: Direction | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Maximises the objective inside the ball by signed gradient ascent from a random start.

    Args:
        objective: Maps images (N, C, H, W) to one value each (N,); larger is more adversarial.
        images: Clean images (N, C, H, W), float32 in [0, 1].
        ball: The set that the result may not leave.
        step_size: Step per iteration, in units of the pixel range, as `ball.eps`.
        steps: Gradient steps, each one forward and one backward pass.
        noise: Source of the random start, uniform in the ball.
        direction: What to follow instead of the gradient, for example its momentum.
        start: Points (N, C, H, W) to begin from instead; then no noise is drawn. Pixels may lie outside [0, 1]: the
            first step projects them.

    Returns:
        Adversarial images (N, C, H, W), detached, inside the ball around images.

    Raises:
        ValueError: If an image lies outside [0, 1].

    Source: Madry et al. 2018, eq. 3.
    """
    if images.min() < 0 or images.max() > 1:
        raise ValueError(f"images: pixels from {images.min():.3g} to {images.max():.3g}; allowed are 0 to 1")
    if start is None:
        drawn = noise.uniform(tuple(images.shape[1:]), low=-1, high=1)
        start = ball.random_start(images, drawn.to(images.device))
    images_adv = start
    for _ in range(steps):
        images_adv = images_adv.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(images_adv).sum(), images_adv)
        step = ball.steepest(direction(gradient) if direction else gradient)
        images_adv = ball.project(images_adv.detach() + step_size * step, images)
    return images_adv.detach()


def strongest(attacks: Iterable[Tensor], objective: Objective, images: Tensor, *, ball: LinfBall) -> Tensor:
    """Keep of several results, image by image, the one whose stored form has the largest objective.

    Args:
        attacks: Adversarial images (N, C, H, W), one tensor for each attempt, at least one.
        objective: Maps images (N, C, H, W) to one value each (N,).
        images: Clean images (N, C, H, W), multiples of 1/255.
        ball: Of the attempts; decides how they are rounded to 8 bits.

    Returns:
        Adversarial images (N, C, H, W); the first attempt wins a tie.
    """

    @torch.no_grad()
    def values_of(images_adv: Tensor) -> Tensor:
        return objective(ball.quantise(images_adv, images) / 255)

    attempts = iter(attacks)
    best = next(attempts)
    highest = values_of(best)
    for images_adv in attempts:
        values = values_of(images_adv)
        better = values > highest
        highest = torch.where(better, values, highest)
        best = torch.where(better[:, None, None, None], images_adv, best)
    return best


class Momentum:
    """Follows a decaying sum of gradients, each scaled to mean absolute value 1 per image.

    Source: Dong et al. 2018 (MI-FGSM), eq. 6.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.accumulated: Tensor | float = 0.0

    def __call__(self, gradient: Tensor) -> Tensor:
        """Takes a gradient (N, C, H, W), returns the direction of the same shape."""
        scale = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        self.accumulated = self.decay * self.accumulated + gradient / scale.clamp_min(1e-12)
        return self.accumulated
