"""Compare the gradients that an attacker may take through image processing: `python -m reports.studies.gradients`.

Writes reports/gradients.csv: how many of 100 test images the hand-written prompt gets right behind each processing,
clean and under the suite of the table of test-time defences, by the gradient that the defence declares, also with more
steps, and straight through. `bits` is attacked by a search over levels, too; random crops with more steps alone. One
crop goes with all models of reports/studies/towers.py, whose experiments have to be there, each at its eps. Lines that
are there are not measured again: delete those whose code has changed.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor

from reports.studies.experiments import checked_out, found
from reports.studies.towers import MODELS
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.crafting.adaptive import pgd_attack
from stages.crafting.batching import Batching
from stages.crafting.shards import Attack, craft_shard
from stages.crafting.suite import suite_attack
from stages.defences.bpda import straight_through
from stages.defences.defence import Defence, defence_of
from stages.defences.test_time import TestTime
from stages.defences.victim import Victim
from stages.defences.views import view_ensemble
from stages.evaluation.image_features import vote
from stages.evaluation.load import load_victim
from stages.evaluation.subset import draw_from
from stages.models.device import to_tensor
from stages.runtime.method_blocks import Defence as DefenceBlock
from stages.runtime.params import PromptPgd, Suite, load_params
from stages.storage.images import Images
from stages.storage.layout import clean_images, method_folder

OUT = Path("reports/gradients.csv")
CPU = torch.device("cpu")
IMAGES, BITS = 100, 3
STEPS, MORE_STEPS = 16, 100
DRAWS, MORE_DRAWS = 4, 16  # of a random defence
VIEWS = {"1 crop": 1, "8 crops": 8}
SMALLEST_CROP = 0.75
MEAN = f"PGD, {MORE_STEPS} steps, {MORE_DRAWS} draws in each gradient"
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
    """Count the images that a victim classifies right; of a random one five draws vote."""
    predictions = vote(victim, to_tensor(images.pixels, CPU), images.ids, seed=0).argmax(1)
    return int((predictions == torch.from_numpy(images.labels)).sum())


def left_by_suite(victim: Victim, images: Images, seed: int, *, eps: int, steps: int, draws: int) -> int:
    """Count the images right under the suite: `draws` times as many steps of one draw each behind a random defence."""
    counts = Suite(
        method="suite", eps=eps, steps=steps, restarts=1, targets=1, images="all", tuning_seeds=1, samples=draws
    )
    return left(suite_attack(counts, victim), victim, images, seed, eps=eps)


def left_by_mean(victim: Victim, images: Images, seed: int, *, eps: int) -> int:
    """Count the images right under PGD whose every gradient is the mean of MORE_DRAWS draws of a random defence."""
    counts = {"steps": MORE_STEPS, "restarts": 1, "images": "all", "tuning_seeds": 1, "samples": MORE_DRAWS}
    block = {"method": "pgd", "objective": "cross_entropy", "eps": eps, "step_ratio": 2.5, **counts}
    return left(pgd_attack(PromptPgd.model_validate(block), victim), victim, images, seed, eps=eps)


def left(attack: Attack, victim: Victim, images: Images, seed: int, *, eps: int) -> int:
    """Count the images right under an attack."""
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


def counts_of(dataset: str) -> Iterator[tuple[str, str, Callable[[int], int]]]:
    """Yield each processing, each attack, and what counts the images that stay right at an eps."""
    params = load_params()
    images = draw_from(clean_images(dataset, "test"), range(10), IMAGES, seed=params.seed).images()
    plain = load_victim(method_folder(dataset, "all", "zero_shot", "zero_shot"), device="cpu")

    def suite(victim: Victim, gradient: str, steps: int, draws: int = DRAWS) -> tuple[str, Callable[[int], int]]:
        name = f"suite, {steps} steps, gradient: {gradient}"
        return name, lambda eps: left_by_suite(victim, images, params.seed, eps=eps, steps=steps, draws=draws)

    def mean(victim: Victim) -> tuple[str, Callable[[int], int]]:
        return MEAN, lambda eps: left_by_mean(victim, images, params.seed, eps=eps)

    def clean(victim: Victim) -> tuple[str, Callable[[int], int]]:
        return "none", lambda eps: right(victim, images)

    behind = partial(Victim, plain.clip, plain.text_features, plain.logit_scale)
    for one in (clean(plain), suite(plain, "declared", STEPS), suite(plain, "declared", MORE_STEPS)):
        yield "none", *one
    for block in BLOCKS:
        kind, defence = str(block["kind"]), defence_of(TypeAdapter(DefenceBlock).validate_python(block))
        declared, identity = behind(defence=defence), behind(defence=identity_behind(defence))
        yield kind, *clean(declared)
        yield kind, *suite(identity, "identity", STEPS)
        for steps in (STEPS, MORE_STEPS):
            yield kind, *suite(declared, "declared", steps)
        if kind == "bits":
            yield kind, "search over levels", lambda eps: left_by_search(plain, images, eps=eps)
    for kind, views in VIEWS.items():
        crops = behind(test_time=TestTime(partial(view_ensemble, views=views, smallest=SMALLEST_CROP)))
        yield kind, *clean(crops)
        yield kind, *suite(crops, "declared", STEPS)
        yield kind, *suite(crops, "declared", MORE_STEPS, MORE_DRAWS if views == 1 else DRAWS)
        yield kind, *mean(crops)


def is_measured(model: str, kind: str, attack: str) -> bool:
    """Return whether a line is measured: of tiny-clip all, of photo-vit all but 8 crops, else one crop, few steps."""
    if attack == MEAN:
        return kind == "1 crop" and model in ("tiny-clip", "photo-clip", "photo-vit")
    if model == "tiny-clip":
        return True
    if model == "photo-vit":
        return kind != "8 crops"
    return kind in ("none", "1 crop") and str(MORE_STEPS) not in attack


def main() -> None:
    """Measure what is missing; write the table after each line."""
    torch.set_num_threads(1)
    out = OUT.resolve()
    table = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=["model", "eps", "kind", "attack", "right"])
    for model, tower in MODELS.items():
        done = set(table.loc[table["model"] == model, ["kind", "attack"]].itertuples(index=False, name=None))
        ref = found(f"towers-{model}")
        assert ref, f"run `python -m reports.studies.towers {model}` first"
        with checked_out(ref):
            for kind, attack, count in counts_of(tower.dataset):
                if (kind, attack) in done or not is_measured(model, kind, attack):
                    continue
                line = {"model": model, "eps": tower.eps, "kind": kind, "attack": attack, "right": count(tower.eps)}
                print(line, flush=True)
                table = pd.concat([table, pd.DataFrame([line])])
                table = table.sort_values("model", key=lambda names: names.map(list(MODELS).index), kind="stable")
                table.to_csv(out, index=False)


if __name__ == "__main__":
    main()
