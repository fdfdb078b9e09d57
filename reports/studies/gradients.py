"""Compare the gradients that an attacker may take through image processing: `python -m reports.studies.gradients`.

Writes reports/gradients.csv, on test images of the committed state, which `dvc repro` has to have made: how many of 100
the hand-written prompt gets right behind each processing, clean and under the suite of the table of test-time defences,
by the gradient that the defence declares, also with more steps, and straight through. `bits` is attacked by a search
over levels, too.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor

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
IMAGES, EPS, BITS = 100, 4, 3
STEPS, MORE_STEPS = 16, 100
SUITE = Suite(
    method="suite", eps=EPS, steps=STEPS, restarts=1, targets=1, images="all", tuning_seeds=1, samples=4, queries=0
)
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


def attacked(victim: Victim, images: Images, seed: int, steps: int) -> Images:
    """Attack images by the suite."""
    attack = suite_attack(SUITE.model_copy(update={"steps": steps}), victim, {})
    return craft_shard(attack, images, ball=LinfBall(EPS / 255), seed=seed, device=CPU, batching=Batching(1, 1))


def left_by_search(plain: Victim, images: Images) -> int:
    """Count the images right behind `bits` after a search over the levels that each value can reach inside the ball.

    Each step moves the values that gain most by the gradient at the present levels, fewer from step to step, each to
    the end of its reach.
    """
    labels, clean, most = torch.from_numpy(images.labels), to_tensor(images.pixels, CPU), 2**BITS - 1
    low, high = (((clean + sign * EPS / 255).clamp(0, 1) * most).round() for sign in (-1, 1))
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


def lines() -> Iterator[dict[str, str | int]]:
    """Yield how many images stay right, for each defence and attack."""
    params = load_params()
    dataset = params.datasets[0]
    images = draw_from(clean_images(dataset, "test"), range(10), IMAGES, seed=params.seed).images()
    plain = load_victim(method_folder(dataset, "all", "zero_shot", "zero_shot"), device="cpu")
    for block in BLOCKS:
        defence = defence_of(TypeAdapter(DefenceBlock).validate_python(block))
        named = {"declared": defence, "identity": identity_behind(defence)}
        victims = {
            name: Victim(plain.clip, plain.text_features, plain.logit_scale, defence=each)
            for name, each in named.items()
        }
        kind = str(block["kind"])
        yield {"kind": kind, "attack": "none", "right": right(victims["declared"], images)}
        for gradient, steps in (("identity", STEPS), ("declared", STEPS), ("declared", MORE_STEPS)):
            left = right(victims[gradient], attacked(victims[gradient], images, params.seed, steps))
            yield {"kind": kind, "attack": f"suite, {steps} steps, gradient: {gradient}", "right": left}
        if kind == "bits":
            yield {"kind": kind, "attack": "search over levels", "right": left_by_search(plain, images)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = []
    for line in lines():
        rows.append(line)
        print(line, flush=True)
        pd.DataFrame(rows).to_csv(OUT, index=False)
