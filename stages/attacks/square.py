"""Square: change random squares of an image, and keep what helps; it needs no gradient."""

import math

import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.pgd import Objective

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries; the first squares are 0.8 of the image


@torch.no_grad()
def square(
    objective: Objective,
    images: Tensor,
    *,
    ball: LinfBall,
    queries: range,
    noise: ImageNoise,
    start: Tensor | None = None,
) -> Tensor:
    """Maximise the objective inside the ball by random search over squares of one colour, at corners of the ball.

    Each image meets its own squares, whoever is beside it, as the official code, which draws for a whole batch, does
    not.

    Args:
        objective: Maps images (N, C, H, W) to one value each (N,).
        images: Clean images (N, C, H, W) in [0, 1].
        ball: The set that the result may not leave.
        queries: Which of all proposals to make; squares shrink as their numbers grow. `start` is queried beside them.
        noise: Draws place and colour of each square, and the start.
        start: Where an earlier call ended; None for random vertical stripes.

    Returns:
        Adversarial images (N, C, H, W).

    Source: Andriushchenko et al. 2020 (arXiv 1912.00049), alg. 1 and 2, with the sizes of AutoAttack's.
    """
    _, channels, height, width = images.shape
    if start is None:
        stripes = noise.uniform((channels, 1, width), low=-1, high=1).to(images.device).sign()
        start = ball.project(images + ball.eps * stripes, images)
    best, highest = start, objective(start)
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    drawn = noise.uniform((len(queries), 2 + channels)).to(images.device)
    for query, numbers in zip(queries, drawn.unbind(1), strict=True):
        share = 0.8 / 2 ** sum(query > bound for bound in HALVED_AFTER)
        side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
        top = (numbers[:, 0] * (height - side + 1)).floor()[:, None]
        left = (numbers[:, 1] * (width - side + 1)).floor()[:, None]
        inside = ((rows >= top) & (rows < top + side))[:, :, None] & ((columns >= left) & (columns < left + side))[
            :, None
        ]
        colour = 2 * ball.eps * (numbers[:, 2:] - 0.5).sign()[:, :, None, None]
        tried = ball.project(best + colour * inside[:, None], images)
        values = objective(tried)
        better = values > highest
        best, highest = torch.where(better[:, None, None, None], tried, best), torch.where(better, values, highest)
    return best
