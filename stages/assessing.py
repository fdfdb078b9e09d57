"""The evaluation itself under attack: measurements that would betray a masked gradient, a weak attack or a leak.

What they must be, stages/report/assessment.py says.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.adapting import among_copies, package_attack, pgd_attack
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy
from stages.attacks.pgd import pgd
from stages.banks.images import Images, read_all_images, write_images
from stages.crafting import Attack, craft_shard, steps_of
from stages.defending import Encoder
from stages.models.device import to_tensor
from stages.params import Assess, Batching, PromptPgd

STEP_RATIO = 2.5  # of PGD, in eps / steps
FEW_STEPS = 10  # where the ball is a point, and over which the loss has to rise


class Measured(NamedTuple):
    """One measurement; eps in 1/255, n images."""

    measure: str
    attack: str
    eps: int
    steps: int
    value: float
    n: int


@dataclass(frozen=True)
class Assessor:
    """One victim, some clean images of its test split, and how to attack them.

    Attributes:
        logits_of: The victim: images (N, C, H, W) -> logits (N, K).
        shard: Clean images.
        settings: What to try.
        seed: Of all noise.
        device: Where to compute.
        batching: How to split the images.
        kept: Images after PGD, by eps, steps and objective.
    """

    logits_of: Encoder
    shard: Images
    settings: Assess
    seed: int
    device: torch.device
    batching: Batching
    kept: dict[tuple[int, int, str], Images] = field(default_factory=dict)

    def measurements(self, folder: Path) -> Iterator[Measured]:
        """All of them; `folder`, empty, takes images for a moment.

        On the CPU the rivals run beside the rest; no other part draws from torch's generator.
        """
        ours = chain(self.exact(folder), self.accuracies(), self.gradients())
        if self.device.type != "cpu":
            yield from chain(ours, self.rivals())
            return
        with ThreadPoolExecutor(1) as pool:
            rivals = pool.submit(list, self.rivals())
            yield from ours
            yield from rivals.result()

    def exact(self, folder: Path) -> Iterator[Measured]:
        """What must be 0: changes at eps 0, pixels out of the ball, logits or reloaded images that differ."""
        eps, count = self.settings.at_eps, len(self.shard)
        still = self.after_pgd(0, FEW_STEPS)
        changed = (still.pixels != self.shard.pixels).sum() + (self.hits(still) != self.right).sum()
        yield Measured("changed_at_eps_0", "pgd", 0, FEW_STEPS, float(changed), count)
        moved = self.after_pgd(eps, FEW_STEPS)
        write_images(folder / "images", [moved], {})
        stored = read_all_images(folder / "images")
        distance = np.abs(stored.pixels.astype(int) - self.shard.pixels)
        yield Measured("outside", "pgd", eps, FEW_STEPS, float((distance > eps).sum()), count)
        differ = (self.logits(stored).argmax(1) != self.logits(moved).argmax(1)).sum()
        yield Measured("reload_differs", "pgd", eps, FEW_STEPS, float(differ), count)
        again = (self.logits(self.shard) != self.logits(self.shard)).any(1).sum()
        yield Measured("logits_differ", "none", 0, 0, float(again), count)

    def accuracies(self) -> Iterator[Measured]:
        """Robust accuracy under PGD and under noise by eps; under PGD, and PGD on the margin, by steps."""
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
        """The share of images without any gradient, and the share on which PGD raises its loss."""
        images, labels = to_tensor(self.shard.pixels, self.device), torch.tensor(self.shard.labels, device=self.device)
        objective = cross_entropy(self.logits_of, labels)
        ball, step_size, steps = steps_of(self.settings.at_eps, FEW_STEPS, STEP_RATIO)
        noise = ImageNoise(self.seed, self.shard.ids)
        start = pgd(objective, images, ball=ball, step_size=0.0, steps=1, noise=noise).requires_grad_()
        before = objective(start)
        (gradient,) = torch.autograd.grad(before.sum(), start)
        end = pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise, start=start.detach())
        with torch.no_grad():
            rises = (objective(end) > before).float().mean().item()
        eps, count = self.settings.at_eps, len(self.shard)
        without = (gradient == 0).flatten(1).all(1).float().mean().item()
        yield Measured("zero_gradients", "pgd", eps, 1, without, count)
        yield Measured("loss_rises", "pgd", eps, FEW_STEPS, rises, count)

    def rivals(self) -> Iterator[Measured]:
        """AutoAttack against PGD on the same images; Square on those that resist PGD."""
        eps, most = self.settings.at_eps, self.settings.steps[-1]
        some = slice(0, self.settings.autoattack_images)
        auto = package_attack(lambda noise: self.logits_of, eps=eps, version="fast", seed=self.seed)
        few = self.shard.take(some)
        found = self.hits(self.attacked(auto, eps=eps, shard=few, together=True))
        resist = self.hits(self.after_pgd(eps, most))  # others want it, too, and have made it by now
        yield Measured("pgd_of_autoattack_images", "pgd", eps, most, float(resist[some].mean()), len(few))
        yield Measured("autoattack", "autoattack", eps, 100, float(found.mean()), len(few))
        queries = self.settings.queries
        square = package_attack(
            lambda noise: self.logits_of, eps=eps, version="square", queries=queries, seed=self.seed
        )
        left = self.shard.take(resist)
        gain = (~self.hits(self.attacked(square, eps=eps, shard=left, together=True))).sum() if len(left) else 0
        yield Measured("square_gain", "square", eps, queries, gain / len(self.shard), len(self.shard))

    def after_pgd(self, eps: int, steps: int, objective: str = "cross_entropy") -> Images:
        """What adaptive PGD makes of the images, by default as the default threats; kept for the next who asks."""
        key = (eps, steps, objective)
        if key not in self.kept:
            self.kept[key] = self.attacked(self.pgd(*key), eps=eps)
        return self.kept[key]

    def pgd(self, eps: int, steps: int, objective: str) -> Attack:
        """Adaptive PGD."""
        settings = PromptPgd(
            method="pgd", objective=objective, eps=eps, steps=steps, step_ratio=STEP_RATIO, restarts=1,
            images="all", tuning_seeds=1,
        )  # fmt: skip
        return pgd_attack(settings, lambda noise: among_copies(self.logits_of))

    def accuracy(self, name: str, attacked: Images, *, eps: int, steps: int) -> Measured:
        """Robust accuracy on what an attack has made."""
        right = self.right & self.hits(attacked)
        return Measured("accuracy", name, eps, steps, float(right.mean()), len(self.shard))

    def attacked(self, attack: Attack, *, eps: int, shard: Images | None = None, together: bool = False) -> Images:
        """The images as they would be stored; `together` for an attack to which it matters who is in a batch."""
        ball, shard = LinfBall(eps / 255), self.shard if shard is None else shard
        batching = Batching(1, 1, whole=True) if together else self.batching
        return craft_shard(attack, shard, ball=ball, seed=self.seed, device=self.device, batching=batching)

    @torch.no_grad()
    def logits(self, shard: Images) -> np.ndarray:
        """Logits (N, K) of stored images."""
        parts = (self.logits_of(to_tensor(part.pixels, self.device)) for part in shard.split(self.batching.batches))
        return torch.cat(list(parts)).cpu().numpy()

    @cached_property
    def right(self) -> np.ndarray:
        """Which clean images are right (N,)."""
        return self.hits(self.shard)

    def hits(self, shard: Images) -> np.ndarray:
        """Which stored images are right (N,)."""
        return self.logits(shard).argmax(1) == shard.labels


def noise_of(eps: int) -> Attack:
    """Each pixel up or down by eps at random."""

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        signs = noise.uniform(tuple(images.shape[1:]), low=-1, high=1).sign().to(images.device)
        return LinfBall(eps / 255).random_start(images, signs)

    return attack
