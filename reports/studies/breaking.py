"""Attempts to break the pixel prompt: `python -m reports.studies.breaking` writes reports/breaking.csv.

Each attempt goes at the test images of the adaptive threats that the suite leaves right, with the pixel prompt of the
default and with the hand-written prompt. The table says what each attempt alone leaves; lines that are there are not
measured again.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from reports.studies.pixel_prompt import CPU, right
from stages.attacks.eight_bit import through_8_bits
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, margin
from stages.attacks.pgd import Objective, pgd, strongest
from stages.attacks.square import square
from stages.crafting.adaptive import adaptive_attack
from stages.crafting.batching import even_batches
from stages.crafting.shards import Attack, craft_shard
from stages.crafting.suite import suite_attack
from stages.defences.victim import Victim
from stages.evaluation.load import load_victim
from stages.evaluation.subset import draw_from
from stages.models.device import to_tensor
from stages.runtime.params import AutoAttack, Params, Suite, load_params
from stages.storage.images import Images
from stages.storage.layout import clean_images, method_folder

RESULTS = Path("reports/breaking.csv")
KEY = ["method", "eps", "attempt"]
METHODS = {"pixel prompt": "adversarial/pixel_prompt", "hand-written": "zero_shot/zero_shot"}
EPS = (4, 8)
IMAGES = 200
STEPS, STARTS, QUERIES = 1000, 3, 5000
FEWER = 200  # steps of the other attempts
REVIVING = 100  # steps that raise what the ReLUs cut off
SLOPE = 0.1  # of the gradient through a ReLU that is shut


class LeakyGradient(torch.autograd.Function):
    """ReLU whose gradient is SLOPE, not 0, where it is shut."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values > 0)
        return values.relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (is_open,) = ctx.saved_tensors
        return gradient * torch.where(is_open, 1.0, SLOPE)


class Relu(nn.Module):
    """A ReLU that passes gradients where it is shut, and notes the mean (N,) of its negative inputs."""

    def __init__(self, totals: list[Tensor]) -> None:
        super().__init__()
        self._totals = totals

    def forward(self, values: Tensor) -> Tensor:
        self._totals.append(values.clamp(max=0).flatten(1).mean(1))
        return LeakyGradient.apply(values)


def with_own_relus(victim: Victim) -> tuple[Victim, list[Tensor]]:
    """Return a copy of a victim, and the list that its ReLUs append the means (N,) of their negative inputs to."""
    other, totals = copy.deepcopy(victim), list[Tensor]()
    names = [name for name, module in other.clip.model.visual.named_modules() if isinstance(module, nn.ReLU)]
    if not names:
        raise ValueError("the image tower has no ReLU")
    for name in names:
        other.clip.model.visual.set_submodule(name, Relu(totals))
    return other, totals


def pgd_in_quarters(
    objective: Objective,
    images: Tensor,
    eps: int,
    steps: int,
    noise: ImageNoise,
    start: Tensor | None = None,
    first: float = 1.0,
) -> Tensor:
    """Return PGD whose step is at first eps, or this share of it, and is halved after each quarter, as in the suite."""
    ball = LinfBall(eps / 255)
    for quarter in range(4):
        step_size = first * ball.eps / 2**quarter
        start = pgd(objective, images, ball=ball, step_size=step_size, steps=steps // 4, noise=noise, start=start)
    assert start is not None
    return start


def repeated(objective_of: Callable, victim: Victim, eps: int, *, steps: int, through: Victim | None = None) -> Attack:
    """Return PGD from STARTS starts, of which the one with the largest margin is kept; no image stops early.

    Its gradients are those of the victim, or of another one that it goes through.
    """

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        objective = objective_of(through_8_bits(through or victim), labels)
        found = (pgd_in_quarters(objective, images, eps, steps, noise) for _ in range(STARTS))
        return strongest(found, margin(victim, labels), images, ball=LinfBall(eps / 255))

    return attack


def squares(victim: Victim, eps: int) -> Attack:

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        objective = margin(through_8_bits(victim), labels)
        return square(objective, images, ball=LinfBall(eps / 255), queries=range(QUERIES), noise=noise)

    return attack


def through_shut_relus(victim: Victim, eps: int) -> Attack:
    """Return PGD on the margin whose gradient passes shut ReLUs."""
    leaky, totals = with_own_relus(victim)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        def objective(images_adv: Tensor) -> Tensor:
            totals.clear()
            return margin(through_8_bits(leaky), labels)(images_adv)

        return pgd_in_quarters(objective, images, eps, FEWER, noise)

    return attack


def negative_inputs(victim: Victim, totals: list[Tensor]) -> Objective:
    """Return the sum over ReLUs of their mean negative input; the arguments are those of `with_own_relus`."""

    def objective(images: Tensor) -> Tensor:
        totals.clear()
        victim(images)
        return torch.stack(totals).sum(0)

    return objective


def reviving(victim: Victim, eps: int) -> Attack:
    """Return PGD that first raises the negative inputs of all ReLUs, then, from there in small steps, the margin."""
    raised = negative_inputs(*with_own_relus(victim))

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        start = pgd_in_quarters(raised, images, eps, REVIVING, noise)
        objective = margin(through_8_bits(victim), labels)
        return pgd_in_quarters(objective, images, eps, FEWER, noise, start, first=1 / 8)

    return attack


def suite(victim: Victim, eps: int) -> Attack:
    keys = {"steps": 32, "restarts": 2, "targets": 2, "images": IMAGES, "tuning_seeds": 1}
    return suite_attack(Suite(method="suite", eps=eps, **keys), victim)


def attempts(victim: Victim, hand_written: Victim, eps: int) -> Iterator[tuple[str, Attack]]:
    """Yield the name of each attempt, and the attempt."""
    plain = repeated(margin, victim, eps, steps=FEWER, through=hand_written)
    yield f"PGD through the model without the prompt, {FEWER} steps, {STARTS} starts, margin", plain
    yield f"PGD, {STEPS} steps, {STARTS} starts, cross-entropy", repeated(cross_entropy, victim, eps, steps=STEPS)
    yield f"PGD, {STEPS} steps, {STARTS} starts, margin", repeated(margin, victim, eps, steps=STEPS)
    yield "gradient through shut ReLUs", through_shut_relus(victim, eps)
    yield "shut ReLUs opened first, small steps from there", reviving(victim, eps)
    yield f"Square, {QUERIES} queries", squares(victim, eps)
    block: dict[str, Any] = {
        "version": "standard",
        "eps": eps,
        "images": IMAGES,
        "tuning_seeds": 1,
        "batch_size": IMAGES,
    }
    yield "AutoAttack `standard`", adaptive_attack(AutoAttack(method="autoattack", **block), victim, seed=0)


def gradient_shares(victim: Victim, images: Images) -> dict[str, float]:
    """Return how many entries of the margin's gradient are 0, in %, and its median L1 norm."""
    pixels = to_tensor(images.pixels, CPU).requires_grad_()
    (gradient,) = torch.autograd.grad(margin(victim, torch.tensor(images.labels))(pixels).sum(), pixels)
    zero, norms = (gradient == 0).float().mean(), gradient.flatten(1).abs().sum(1)
    return {"zero gradient, %": 100 * zero.item(), "median L1 norm": norms.median().item()}


def measure(
    name: str, victim: Victim, hand_written: Victim, images: Images, params: Params, earlier: dict[tuple, int]
) -> Iterator[dict]:
    """Yield a line for each eps and attempt; what was left earlier, by method, eps and attempt, stands."""
    about = {"method": name, "n": len(images), **gradient_shares(victim, images)}
    for eps in EPS:
        crafted = partial(craft_shard, ball=LinfBall(eps / 255), seed=params.seed, device=CPU)

        def attacked(attack: Attack, part: Images, crafted: Any = crafted) -> Images:
            batching = even_batches(params.runtime, len(part), CPU.type)
            return crafted(attack, part, batching=batching._replace(workers=1))  # a list in `Relu` is shared

        keeps = right(victim, images)
        yield {**about, "eps": eps, "attempt": "none", "left": int(keeps.sum())}
        keeps &= right(victim, attacked(suite(victim, eps), images))
        yield {**about, "eps": eps, "attempt": "the suite", "left": int(keeps.sum())}
        survivors = images.take(keeps)
        for what, attack in attempts(victim, hand_written, eps) if len(survivors) else ():
            left = earlier.get((name, eps, what))
            if left is None:
                left = int(right(victim, attacked(attack, survivors)).sum())
            yield {**about, "eps": eps, "attempt": what, "left": left}


def main() -> None:
    """Measure both methods; write the table after each line."""
    torch.set_num_threads(1)
    params = load_params()
    (dataset, *_) = params.datasets
    source = clean_images(dataset, "test")
    images = draw_from(source, range(10), IMAGES, seed=params.seed).images()
    victims = {
        name: load_victim(method_folder(dataset, "all", *method.split("/")), device="cpu").undefended()
        for name, method in METHODS.items()
    }
    table = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame(columns=[*KEY, "left"])
    earlier = table.set_index(KEY)["left"].to_dict()
    lines = []
    for name, victim in victims.items():
        for line in measure(name, victim, victims["hand-written"], images, params, earlier):
            print(line, flush=True)
            lines.append(line)
            write(pd.concat([pd.DataFrame(lines), table]).drop_duplicates(KEY))
    write(pd.DataFrame(lines))


def write(table: pd.DataFrame) -> None:
    table.to_csv(RESULTS, index=False, lineterminator="\n", float_format="%.4g")


if __name__ == "__main__":
    main()
