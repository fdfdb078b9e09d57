"""Measure what reveals masked gradients, a weak attack or a leak.

Each measurement is an outcome per image, so groups of images are measured separately; the noise of AutoAttack and
Square is that of a group. stages/report/assessment.py says which outcomes pass.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy
from stages.attacks.pgd import pgd
from stages.crafting.adaptive import package_attack, pgd_attack
from stages.crafting.batching import Batching, over_batches
from stages.crafting.shards import Attack, craft_shard, steps_of
from stages.defences.inner import Closed
from stages.defences.victim import Victim
from stages.models.device import to_tensor
from stages.runtime.params import Assess, PromptPgd
from stages.storage.images import Images, read_all_images, write_images

STEP_RATIO = 2.5  # of PGD, in eps / steps
PIXELS = (1, 2, 3)  # axes of images (N, H, W, C)
FEW_STEPS = 10  # of PGD at each eps, and over which the loss has to rise
ALONE = 8  # images of a shard that are also classified alone
ROUNDING = 1e-3  # difference of logits, in units of the largest, that other kernels for other batches may make


class Measured(NamedTuple):
    """One measurement.

    Attributes:
        measure: What is true or false of an image: `correct` after an attack, or a sign of something wrong.
        attack: What the images went through.
        eps: In 1/255.
        steps: Of the attack; of Square queries.
        outcomes: Of each image, or of the first n: truth values (n,).
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
        kept: Images after PGD, by eps and steps.
    """

    victim: Victim
    shard: Images
    settings: Assess
    seed: int
    device: torch.device
    batching: Batching
    autoattack_images: int
    kept: dict[tuple[int, int], Images] = field(default_factory=dict)

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
        """Find what may never be: changes at eps 0, pixels out of the ball, logits or reloaded images that differ."""
        eps = self.settings.at_eps
        still = self.after_pgd(0, 1)
        changed = (still.pixels != self.shard.pixels).any(PIXELS) | (self.hits(still) != self.right)
        yield Measured("changed_at_eps_0", "pgd", 0, 1, changed)
        moved = self.after_pgd(eps, FEW_STEPS)
        write_images(folder / "images", [moved], {})
        stored = read_all_images(folder / "images")
        distance = np.abs(stored.pixels.astype(int) - self.shard.pixels)
        yield Measured("outside", "pgd", eps, FEW_STEPS, (distance > eps).any(PIXELS))
        differ = self.logits(stored).argmax(1) != self.logits(moved).argmax(1)
        yield Measured("reload_differs", "pgd", eps, FEW_STEPS, differ)
        again = (self.logits(self.shard) != self.clean_logits).any(1)
        yield Measured("logits_differ", "none", 0, 0, again)
        few = self.shard.take(slice(0, ALONE))
        alone = self.logits(few, self.batching._replace(batches=len(few)))
        allowed = ROUNDING * np.abs(self.clean_logits).max()
        yield Measured("batch_matters", "none", 0, 0, (np.abs(alone - self.clean_logits[:ALONE]) > allowed).any(1))

    def accuracies(self) -> Iterator[Measured]:
        """Classify clean images, images under noise and PGD by eps, and under PGD by steps."""
        at_eps = self.settings.at_eps
        yield Measured("correct", "none", 0, 0, self.right)
        for eps in self.settings.eps:
            yield self.correct("noise", self.attacked(noise_of(eps), eps=eps), eps=eps, steps=0)
        by_steps = {(at_eps, steps) for steps in self.settings.steps}
        for eps, steps in sorted(by_steps | {(eps, FEW_STEPS) for eps in self.settings.eps}):
            yield self.correct("pgd", self.after_pgd(eps, steps), eps=eps, steps=steps)
        if self.victim.is_defended:
            most = self.settings.steps[-1]
            attack = self.pgd(at_eps, most, self.victim.undefended())
            yield self.correct("undefended", self.attacked(attack, eps=at_eps), eps=at_eps, steps=most)

    def gradients(self) -> Iterator[Measured]:
        """Find images without any gradient, or whose gate has none, and those on which PGD never raises its loss.

        The loss counts after each step, in every way of differentiating the defence: where a gate opens or a step of
        the defence turns, it may fall again, although the gradient was right.
        """
        images, labels = to_tensor(self.shard.pixels, self.device), torch.tensor(self.shard.labels, device=self.device)
        objective = cross_entropy(self.victim, labels)
        ball, step_size, steps = steps_of(self.settings.at_eps, FEW_STEPS, STEP_RATIO)
        noise = ImageNoise(self.seed, self.shard.ids)
        start = pgd(objective, images, ball=ball, step_size=0.0, steps=1, noise=noise).requires_grad_()
        before = objective(start)
        (gradient,) = torch.autograd.grad(before.sum(), start)
        rises = torch.zeros_like(before, dtype=torch.bool)
        for inner in self.victim.ways:
            ascended, points = cross_entropy(partial(self.victim, inner=inner), labels), start.detach()
            for _ in range(steps):
                points = pgd(ascended, images, ball=ball, step_size=step_size, steps=1, noise=noise, start=points)
                with torch.no_grad():
                    rises |= objective(points) > before
        without = (gradient == 0).flatten(1).all(1).cpu().numpy()
        yield Measured("zero_gradients", "pgd", self.settings.at_eps, 1, without)
        yield Measured("loss_stays", "pgd", self.settings.at_eps, FEW_STEPS, ~rises.cpu().numpy())
        if self.victim.is_gated:
            yield Measured("zero_gate_gradients", "pgd", self.settings.at_eps, 1, self.gates_without_gradient(start))

    def gates_without_gradient(self, images: Tensor) -> np.ndarray:
        """Return for which images (N, 3, H, W) the distance of the gate from its threshold has no gradient (N,)."""
        gate = Closed()
        self.victim(images, None, gate)
        if not gate.distance.requires_grad:
            return np.ones(len(images), bool)
        (gradient,) = torch.autograd.grad(gate.distance.sum(), images)
        return (gradient == 0).flatten(1).all(1).cpu().numpy()

    def comparisons(self) -> Iterator[Measured]:
        """Try AutoAttack on the first images, and Square on those that resist PGD."""
        eps, most = self.settings.at_eps, self.settings.steps[-1]
        few = self.shard.take(slice(0, self.autoattack_images))
        if len(few):
            auto = package_attack(self.victim, eps=eps, version="fast", seed=self.seed)
            yield self.correct("autoattack", self.attacked(auto, eps=eps, shard=few, together=True), eps=eps, steps=100)
        queries = self.settings.queries
        square = package_attack(self.victim, eps=eps, version="square", queries=queries, seed=self.seed)
        resist = self.hits(self.after_pgd(eps, most))  # kept for the accuracies
        left = self.shard.take(resist)
        correct = np.zeros(len(self.shard), bool)
        if len(left):
            correct[resist] = self.hits(self.attacked(square, eps=eps, shard=left, together=True))
        yield Measured("correct", "square", eps, queries, correct)

    def after_pgd(self, eps: int, steps: int) -> Images:
        """Return the images after adaptive PGD; kept for the next call."""
        if (eps, steps) not in self.kept:
            self.kept[eps, steps] = self.attacked(self.pgd(eps, steps, self.victim), eps=eps)
        return self.kept[eps, steps]

    def pgd(self, eps: int, steps: int, victim: Victim) -> Attack:
        """Return PGD through a victim."""
        block = {"objective": "cross_entropy", "eps": eps, "steps": steps, "step_ratio": STEP_RATIO, "restarts": 1}
        settings = PromptPgd.model_validate({"method": "pgd", "images": "all", "tuning_seeds": 1, **block})
        return pgd_attack(settings, victim)

    def correct(self, name: str, attacked: Images, *, eps: int, steps: int) -> Measured:
        """Classify attacked images, whatever the clean ones were classified as."""
        return Measured("correct", name, eps, steps, self.hits(attacked))

    def attacked(self, attack: Attack, *, eps: int, shard: Images | None = None, together: bool = False) -> Images:
        """Return the images after an attack, as stored; `together` for an attack that depends on its batch."""
        ball, shard = LinfBall(eps / 255), self.shard if shard is None else shard
        batching = Batching(1, 1, whole=True) if together else self.batching
        return craft_shard(attack, shard, ball=ball, seed=self.seed, device=self.device, batching=batching)

    def logits(self, shard: Images, batching: Batching | None = None) -> np.ndarray:
        """Return the logits (N, K) of stored images, in these batches or in those of the assessment."""

        @torch.no_grad()
        def logits_of(part: Images) -> np.ndarray:
            return self.victim(to_tensor(part.pixels, self.device)).cpu().numpy()

        return over_batches(logits_of, shard, batching or self.batching)

    @cached_property
    def clean_logits(self) -> np.ndarray:
        """Logits (N, K) of the clean images."""
        return self.logits(self.shard)

    @property
    def right(self) -> np.ndarray:
        """Return whether each clean image is classified correctly (N,)."""
        return self.clean_logits.argmax(1) == self.shard.labels

    def hits(self, shard: Images) -> np.ndarray:
        """Return whether each stored image is classified correctly (N,)."""
        return self.logits(shard).argmax(1) == shard.labels


def noise_of(eps: int) -> Attack:
    """Return an attack that moves each pixel up or down by eps at random."""

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        signs = noise.uniform(tuple(images.shape[1:]), low=-1, high=1).sign().to(images.device)
        return LinfBall(eps / 255).random_start(images, signs)

    return attack


def outcomes_table(ids: list[str], measured: list[Measured]) -> pa.Table:
    """Return one row for each measurement of each image: measure, attack, eps, steps, id, outcome."""
    lines = [
        {"measure": measure, "attack": attack, "eps": eps, "steps": steps, "id": id, "outcome": bool(outcome)}
        for measure, attack, eps, steps, outcomes in measured
        for id, outcome in zip(ids, outcomes, strict=False)  # of the first images alone, for some
    ]
    return pa.Table.from_pylist(lines)
