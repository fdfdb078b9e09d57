"""Reverse adversarial perturbation: an objective judged where it fails most nearby, for flat maxima, which transfer."""

from itertools import count

from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.pgd import Objective, pgd


def reverse(
    objective: Objective, *, inner: Objective, ball: LinfBall, steps: int, from_call: int, noise: ImageNoise
) -> Objective:
    """Looks at images + n, where n, found afresh at every call, makes the attack fail as far as its ball allows.

    n minimises `inner` by signed steps of ball.eps / steps from a random start. As in the authors' code, n starts
    anywhere in its ball, images + n is kept in [0, 1], and n is a constant to the gradient of the objective.

    Args:
        objective: What to maximise; input diversity belongs in here, since `inner` goes without.
        inner: What n minimises, for example the cross-entropy of the right class.
        ball: Where n may lie; of radius 0, it leaves the objective as it is.
        steps: Gradient steps per call, each one forward and one backward pass of `inner`.
        from_call: How many calls see the plain objective before n sets in (RAP-LS, the late start).
        noise: Source of n's random starts.

    Returns:
        An objective that counts its calls: one for each attack.

    Source: Qin et al. 2022, alg. 1.
    """
    calls = count()

    def reversed_objective(images: Tensor) -> Tensor:
        if next(calls) < from_call:
            return objective(images)
        fixed = images.detach()
        lowest = pgd(lambda x: -inner(x), fixed, ball=ball, step_size=ball.eps / steps, steps=steps, noise=noise)
        return objective(images + (lowest - fixed))

    return reversed_objective
