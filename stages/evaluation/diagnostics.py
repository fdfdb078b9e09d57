"""Measure what reveals masked gradients, a weak attack or a leak.

Each measurement is an outcome per image, so shards are measured separately; the noise of AutoAttack and Square is that
of a shard. stages/report/assessment.py says which values pass.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy
from stages.attacks.pgd import pgd
from stages.crafting.adaptive import package_attack, pgd_attack, suite_attack
from stages.crafting.batching import Batching, over_batches
from stages.crafting.shards import Attack, craft_shard, steps_of
from stages.defences.victim import Victim
from stages.models.device import to_tensor
from stages.runtime.params import Assess, PromptPgd, Suite
from stages.storage.images import Images, read_all_images, write_images

STEP_RATIO = 2.5  # of PGD, in eps / steps
SUITE = {"steps": 32, "restarts": 2, "targets": 2}  # as in params.yaml
PIXELS = (1, 2, 3)  # axes of images (N, H, W, C)
FEW_STEPS = 10  # where the ball is a point, and over which the loss has to rise
COUNTED = ("changed_at_eps_0", "outside", "reload_differs", "logits_differ")  # summed; of the others the mean


class Measured(NamedTuple):
    """One measurement.

    Attributes:
        measure: What was measured.
        attack: What the images went through.
        eps: In 1/255.
        steps: Of the attack; of Square queries.
        outcomes: Of each image, or of the first n: counts, or truth values (n,).
    """

    measure: str
    attack: str
    eps: int
    steps: int
    outcomes: np.ndarray


@dataclass(frozen=True)
class Diagnostics:
    """Measurements of one victim on some clean test images.

    Attributes:
        victim: The model under attack; not random.
        shard: Clean images.
        settings: What to try.
        seed: Of all noise.
        device: Where to compute.
        batching: How to split the images.
        autoattack_images: How many of the first images AutoAttack attacks, too.
        kept: Images after PGD, by eps, steps and objective.
    """

    victim: Victim
    shard: Images
    settings: Assess
    seed: int
    device: torch.device
    batching: Batching
    autoattack_images: int
    kept: dict[tuple[int, int, str], Images] = field(default_factory=dict)

    def measurements(self, folder: Path) -> Iterator[Measured]:
        """Take all measurements; `folder`, empty, holds images for a moment.

        On the CPU the comparisons run beside the rest; no other part draws from torch's generator.
        """
        ours = chain(self.exact(folder), self.accuracies(), self.gradients())
        if self.device.type != "cpu":
            yield from chain(ours, self.comparisons())
            return
        with ThreadPoolExecutor(1) as pool:
            compared = pool.submit(list, self.comparisons())
            yield from ours
            yield from compared.result()

    def exact(self, folder: Path) -> Iterator[Measured]:
        """Count what must be 0: changes at eps 0, pixels out of the ball, logits or reloaded images that differ."""
        eps = self.settings.at_eps
        still = self.after_pgd(0, FEW_STEPS)
        changed = (still.pixels != self.shard.pixels).sum(PIXELS) + (self.hits(still) != self.right)
        yield Measured("changed_at_eps_0", "pgd", 0, FEW_STEPS, changed)
        moved = self.after_pgd(eps, FEW_STEPS)
        write_images(folder / "images", [moved], {})
        stored = read_all_images(folder / "images")
        distance = np.abs(stored.pixels.astype(int) - self.shard.pixels)
        yield Measured("outside", "pgd", eps, FEW_STEPS, (distance > eps).sum(PIXELS))
        differ = self.logits(stored).argmax(1) != self.logits(moved).argmax(1)
        yield Measured("reload_differs", "pgd", eps, FEW_STEPS, differ)
        again = (self.logits(self.shard) != self.logits(self.shard)).any(1)
        yield Measured("logits_differ", "none", 0, 0, again)

    def accuracies(self) -> Iterator[Measured]:
        """Measure robust accuracy under PGD and under noise by eps; under PGD, and PGD on the margin, by steps."""
        most, at_eps = self.settings.steps[-1], self.settings.at_eps
        for eps in (0, *self.settings.eps):
            noisy = self.attacked(noise_of(eps), eps=eps)
            yield self.accuracy("noise", noisy, eps=eps, steps=0)
        for eps in (0, *self.settings.eps):
            steps = most if eps else min(most, FEW_STEPS)
            yield self.accuracy("pgd", self.after_pgd(eps, steps), eps=eps, steps=steps)
        for steps in self.settings.steps[:-1]:
            yield self.accuracy("pgd", self.after_pgd(at_eps, steps), eps=at_eps, steps=steps)
        for steps in self.settings.steps:
            yield self.accuracy("margin", self.after_pgd(at_eps, steps, "margin"), eps=at_eps, steps=steps)

    def gradients(self) -> Iterator[Measured]:
        """Find images without any gradient, and those on which PGD raises its loss."""
        images, labels = to_tensor(self.shard.pixels, self.device), torch.tensor(self.shard.labels, device=self.device)
        objective = cross_entropy(self.victim, labels)
        ball, step_size, steps = steps_of(self.settings.at_eps, FEW_STEPS, STEP_RATIO)
        noise = ImageNoise(self.seed, self.shard.ids)
        start = pgd(objective, images, ball=ball, step_size=0.0, steps=1, noise=noise).requires_grad_()
        before = objective(start)
        (gradient,) = torch.autograd.grad(before.sum(), start)
        end = pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise, start=start.detach())
        with torch.no_grad():
            rises = (objective(end) > before).cpu().numpy()
        without = (gradient == 0).flatten(1).all(1).cpu().numpy()
        yield Measured("zero_gradients", "pgd", self.settings.at_eps, 1, without)
        yield Measured("loss_rises", "pgd", self.settings.at_eps, FEW_STEPS, rises)

    def comparisons(self) -> Iterator[Measured]:
        """Compare AutoAttack with PGD and the suite on the same images; try Square on those that resist PGD."""
        eps, most = self.settings.at_eps, self.settings.steps[-1]
        few = self.shard.take(slice(0, self.autoattack_images))
        auto = package_attack(self.victim, eps=eps, version="fast", seed=self.seed)
        found, withstood = np.zeros((2, 0), bool)
        if len(few):
            found = self.hits(self.attacked(auto, eps=eps, shard=few, together=True))
            withstood = self.hits(self.attacked(self.suite(), eps=eps, shard=few))
        resist = self.hits(self.after_pgd(eps, most))  # kept for the accuracies
        yield Measured("pgd_of_autoattack_images", "pgd", eps, most, resist[: len(few)])
        yield Measured("autoattack", "autoattack", eps, 100, found)
        yield Measured("suite_of_autoattack_images", "suite", eps, SUITE["steps"], withstood)
        queries = self.settings.queries
        square = package_attack(self.victim, eps=eps, version="square", queries=queries, seed=self.seed)
        gain, left = np.zeros(len(self.shard), bool), self.shard.take(resist)
        if len(left):
            gain[resist] = ~self.hits(self.attacked(square, eps=eps, shard=left, together=True))
        yield Measured("square_gain", "square", eps, queries, gain)

    def after_pgd(self, eps: int, steps: int, objective: str = "cross_entropy") -> Images:
        """Return the images after adaptive PGD; kept for the next call."""
        key = (eps, steps, objective)
        if key not in self.kept:
            self.kept[key] = self.attacked(self.pgd(*key), eps=eps)
        return self.kept[key]

    def suite(self) -> Attack:
        """Return the suite of the default adaptive threats."""
        settings = Suite(method="suite", eps=self.settings.at_eps, images="all", tuning_seeds=1, **SUITE)
        return suite_attack(settings, self.victim)

    def pgd(self, eps: int, steps: int, objective: str) -> Attack:
        """Return adaptive PGD."""
        block = {"objective": objective, "eps": eps, "steps": steps, "step_ratio": STEP_RATIO, "restarts": 1}
        settings = PromptPgd.model_validate({"method": "pgd", "images": "all", "tuning_seeds": 1, **block})
        return pgd_attack(settings, self.victim)

    def accuracy(self, name: str, attacked: Images, *, eps: int, steps: int) -> Measured:
        """Measure robust accuracy on attacked images: right on the clean image, too."""
        right = self.right & self.hits(attacked)
        return Measured("accuracy", name, eps, steps, right)

    def attacked(self, attack: Attack, *, eps: int, shard: Images | None = None, together: bool = False) -> Images:
        """Return the images after an attack, as stored; `together` for an attack that depends on its batch."""
        ball, shard = LinfBall(eps / 255), self.shard if shard is None else shard
        batching = Batching(1, 1, whole=True) if together else self.batching
        return craft_shard(attack, shard, ball=ball, seed=self.seed, device=self.device, batching=batching)

    def logits(self, shard: Images) -> np.ndarray:
        """Return the logits (N, K) of stored images."""

        @torch.no_grad()
        def logits_of(part: Images) -> np.ndarray:
            return self.victim(to_tensor(part.pixels, self.device)).cpu().numpy()

        return over_batches(logits_of, shard, self.batching)

    @cached_property
    def right(self) -> np.ndarray:
        """Whether each clean image is classified correctly (N,)."""
        return self.hits(self.shard)

    def hits(self, shard: Images) -> np.ndarray:
        """Return whether each stored image is classified correctly (N,)."""
        return self.logits(shard).argmax(1) == shard.labels


def noise_of(eps: int) -> Attack:
    """Return an attack that moves each pixel up or down by eps at random."""

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        signs = noise.uniform(tuple(images.shape[1:]), low=-1, high=1).sign().to(images.device)
        return LinfBall(eps / 255).random_start(images, signs)

    return attack


def outcomes_table(measured: list[Measured]) -> pa.Table:
    """Put measurements of N images side by side.

    Returns:
        N rows; for each measurement a column of int64, named `[measure, attack, eps, steps]` in JSON, null after the
        first n.
    """
    count = max(len(line.outcomes) for line in measured)
    columns = {}
    for *names, outcomes in measured:
        values = outcomes.astype(int).tolist()
        columns[json.dumps(names)] = pa.array(values + [None] * (count - len(values)), pa.int64())
    return pa.table(columns)


def summarised(outcomes: pa.Table) -> pa.Table:
    """Summarise the columns of `outcomes_table`.

    Returns:
        A row for each measurement: measure, attack, eps, steps, value, n. The value is a sum if it is COUNTED, else the
        mean over the n images that took part.
    """
    lines = []
    for names, column in zip(outcomes.column_names, outcomes.columns, strict=True):
        measure, attack, eps, steps = json.loads(names)
        found, count = pc.sum(column, min_count=0).as_py(), len(column) - column.null_count
        value = float(found) if measure in COUNTED else found / count
        lines.append({"measure": measure, "attack": attack, "eps": eps, "steps": steps, "value": value, "n": count})
    return pa.Table.from_pylist(lines)
