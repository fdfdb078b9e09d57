"""Compare the gradients that an attacker may take through image processing: `python -m reports.studies.gradients`.

Writes reports/gradients.csv: how many of 100 test images the hand-written prompt gets right behind each processing,
clean and under the suite of the table of test-time defences, by the gradient that the defence declares, also with more
steps, and straight through. `bits` is attacked by a search over levels, too. Needs what `dvc repro` makes, and what
`reports.studies.towers photo-vit` has made.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor

from reports.studies.experiments import checked_out, found
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.crafting.batching import Batching
from stages.crafting.shards import craft_shard
from stages.crafting.suite import suite_attack
from stages.defences.bpda import straight_through
from stages.defences.defence import Defence, defence_of
from stages.defences.victim import Victim
from stages.evaluation.load import load_victim
from stages.evaluation.subset import draw_from
from stages.models.device import to_tensor
from stages.runtime.method_blocks import Defence as DefenceBlock
from stages.runtime.params import Suite, load_params
from stages.storage.images import Images
from stages.storage.layout import clean_images, method_folder

OUT = Path("reports/gradients.csv")
CPU = torch.device("cpu")
IMAGES, BITS = 100, 3
STEPS, MORE_STEPS = 16, 100
BLOCKS = [
    {"kind": "jpeg", "quality": 75},
    {"kind": "bits", "bits": BITS},
    {"kind": "median", "size": 3},
    {"kind": "gaussian", "sigma": 1.0},
    {"kind": "total_variation", "weight": 0.1},
    {"kind": "wavelet", "sigma": 0.02},
    {"kind": "resize_pad", "smallest": 0.8},
]


def identity_behind(defence: Defence) -> Defence:
    """Return the defence with the identity as its backward pass."""
    if not defence.is_random:
        return Defence(straight_through(defence.function))

    def function(images: Tensor, *, noise: ImageNoise) -> Tensor:
        return straight_through(partial(defence.function, noise=noise))(images)

    return Defence(function, is_random=True)


@torch.no_grad()
def right(victim: Victim, images: Images) -> int:
    """Count the images that a victim classifies right."""
    predictions = victim(to_tensor(images.pixels, CPU)).argmax(1)
    return int((predictions == torch.from_numpy(images.labels)).sum())


def left_by_suite(victim: Victim, images: Images, seed: int, *, eps: int, steps: int) -> int:
    """Count the images right under the suite."""
    budget = Suite(method="suite", eps=eps, steps=steps, restarts=1, targets=1, images="all", tuning_seeds=1, samples=4)
    attack = suite_attack(budget, victim, {})
    ball = LinfBall(eps / 255)
    return right(victim, craft_shard(attack, images, ball=ball, seed=seed, device=CPU, batching=Batching(1, 1)))


def left_by_search(plain: Victim, images: Images, *, eps: int) -> int:
    """Count the images right behind `bits` after a search over the levels that each value can reach inside the ball.

    Each step moves the values that gain most by the gradient at the present levels, fewer from step to step, each to
    the end of its reach.
    """
    labels, clean, most = torch.from_numpy(images.labels), to_tensor(images.pixels, CPU), 2**BITS - 1
    low, high = (((clean + sign * eps / 255).clamp(0, 1) * most).round() for sign in (-1, 1))
    levels = (clean * most).round()
    right = plain(levels / most).argmax(1) == labels
    count = int((high > low).float().mean() * clean[0].numel())
    for step in range(MORE_STEPS):
        levels = levels.requires_grad_()
        loss = F.cross_entropy(plain(levels / most), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, levels)
        levels = levels.detach()
        aim = torch.where(gradient > 0, high, low)
        gains = (gradient * (aim - levels)).flatten(1)
        chosen = gains.topk(max(count * (MORE_STEPS - step) // (2 * MORE_STEPS), 1), 1).indices
        moved = torch.zeros_like(gains, dtype=torch.bool).scatter(1, chosen, True).view_as(levels)
        levels = torch.where(moved & (gradient * (aim - levels) > 0), aim, levels)
        with torch.no_grad():
            right &= plain(levels / most).argmax(1) == labels
    return int(right.sum())


def lines(dataset: str, eps: int) -> Iterator[dict[str, str | int]]:
    """Yield how many images stay right, for each defence and attack."""
    params = load_params()
    model = Path(params.model.name).name
    images = draw_from(clean_images(dataset, "test"), range(10), IMAGES, seed=params.seed).images()
    plain = load_victim(method_folder(dataset, "all", "zero_shot", "zero_shot"), device="cpu")

    def line(kind: str, attack: str, right: int) -> dict[str, str | int]:
        return {"model": model, "eps": eps, "kind": kind, "attack": attack, "right": right}

    def lines_of(victim: Victim, kind: str, gradient: str, *budgets: int) -> Iterator[dict[str, str | int]]:
        for steps in budgets:
            left = left_by_suite(victim, images, params.seed, eps=eps, steps=steps)
            yield line(kind, f"suite, {steps} steps, gradient: {gradient}", left)

    yield line("none", "none", right(plain, images))
    yield from lines_of(plain, "none", "declared", STEPS, MORE_STEPS)
    for block in BLOCKS:
        kind, defence = str(block["kind"]), defence_of(TypeAdapter(DefenceBlock).validate_python(block))
        declared, identity = (
            Victim(plain.clip, plain.text_features, plain.logit_scale, defence=each)
            for each in (defence, identity_behind(defence))
        )
        yield line(kind, "none", right(declared, images))
        yield from lines_of(identity, kind, "identity", STEPS)
        yield from lines_of(declared, kind, "declared", STEPS, MORE_STEPS)
        if kind == "bits":
            yield line(kind, "search over levels", left_by_search(plain, images, eps=eps))


def everywhere() -> Iterator[dict[str, str | int]]:
    """Yield the lines of Fashion-MNIST and of photos."""
    yield from lines("fashion", 4)
    ref = found("towers-photo-vit")
    assert ref, "run `python -m reports.studies.towers photo-vit` first"
    with checked_out(ref):
        yield from lines("photos", 1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, rows = OUT.resolve(), []
    for row in everywhere():
        rows.append(row)
        print(row, flush=True)
        pd.DataFrame(rows).to_csv(out, index=False)
