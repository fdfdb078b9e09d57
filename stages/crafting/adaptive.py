"""Adaptive attacks, through the method under test, from their blocks in params.yaml."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stages.attacks.autoattack import ATTACKS, attacks_for, auto_attack
from stages.attacks.eight_bit import through_8_bits
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, dlr, margin, towards
from stages.attacks.pgd import Objective, pgd
from stages.attacks.survivors import attack_survivors
from stages.attacks.targets import CANDIDATES, nearest_classes
from stages.crafting.batching import SMALLEST_BATCH
from stages.crafting.shards import Attack, steps_of
from stages.defences.bpda import expectation
from stages.defences.victim import Victim
from stages.runtime.params import AdaptiveAttack, AutoAttack, PromptPgd, Square, Suite

Encoder = Callable[[Tensor], Tensor]
OBJECTIVES = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
OFFICIAL = 5001  # queries of AutoAttack's Square, its first guess included
ROUND = 10  # steps of PGD between two checks of which images are fooled already
QUARTERS = 4  # of each attack of the suite, each with its own step size; between them it checks which images are fooled


def among_copies(victim: Victim, batch: Tensor) -> Callable[..., Tensor]:
    """Return the victim's `forward` for survivors of a batch, in the company of copies of the first of them.

    At least SMALLEST_BATCH images are in the towers, or as many as the batch has where memory holds no more: small
    matrix products take other kernels, whose sums differ in the last bit, and it must not matter to an image how many
    others of its batch are fooled already.
    """
    smallest = min(SMALLEST_BATCH, len(batch))

    def logits_of(images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        images = victim.process(images, noise)
        copies = images[:1].expand(max(smallest - len(images), 0), -1, -1, -1)
        return victim.classify(torch.cat([images, copies]).contiguous(memory_format=torch.channels_last))[: len(images)]

    return logits_of


def adaptive_attack(settings: AdaptiveAttack, victim: Victim, *, seed: int) -> Attack:
    """Return the attack on a victim that a block of params.yaml describes.

    Raises:
        ValueError: If the victim is random and the attack cannot average over chance.
    """
    if victim.is_random and not isinstance(settings, PromptPgd):
        raise ValueError(f"{settings.method}: is no attack on a random defence; use method: pgd with samples > 1")
    match settings:
        case PromptPgd():
            return pgd_attack(settings, victim)
        case Suite():
            return suite_attack(settings, victim)
        case AutoAttack():
            return package_attack(victim, eps=settings.eps, version=settings.version, seed=seed)
        case Square():
            return package_attack(victim, eps=settings.eps, version="square", queries=settings.queries, seed=seed)


def left_out(settings: AdaptiveAttack, classes: int) -> str:
    """Return what an attack leaves out with so few classes, as the end of a sentence; empty if nothing."""
    if not isinstance(settings, AutoAttack):
        return ""
    missing = [name for name in ATTACKS[settings.version] if name not in attacks_for(settings.version, classes)]
    return f", without {', '.join(missing)}: its loss needs 4 classes" if missing else ""


def pgd_attack(settings: PromptPgd, victim: Victim) -> Attack:
    """Return PGD with restarts; it stops for an image that is fooled as stored, unless the victim is random."""
    ball, step_size, steps = steps_of(settings.eps, settings.steps, settings.step_ratio)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        logits_of = among_copies(victim, images)

        def advance(images_adv: Tensor, places: Tensor, *, first: bool, count: int) -> Tensor:
            noise_of_these = noise.take(places)
            objective = OBJECTIVES[settings.objective](partial(logits_of, noise=noise_of_these), labels[places])
            return pgd(
                expectation(objective, settings.samples),
                images[places],
                ball=ball,
                step_size=step_size,
                steps=count,
                noise=noise_of_these,
                start=None if first else images_adv,
            )

        starts = range(0, steps, ROUND)
        rounds = [partial(advance, first=start == 0, count=min(ROUND, steps - start)) for start in starts]
        fooled = none_fooled if victim.is_random else fooled_by(through_8_bits(logits_of), labels)
        return attack_survivors(rounds * settings.restarts, images, fooled=fooled)

    return attack


def suite_attack(settings: Suite, victim: Victim) -> Attack:
    """Return a suite of attacks, each on the images that none before it has fooled as they would be stored.

    The cross-entropy and the margin go first, then the nearest wrong classes: at first those on the clean image if
    logits were linear, in every further restart those nearest to winning where the attack on the margin ended. Each
    attack begins with a step of eps, which is halved after each quarter of its steps.
    """
    ball = LinfBall(settings.eps / 255)
    bounds = [settings.steps * quarter // QUARTERS for quarter in range(QUARTERS + 1)]

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        logits_of = through_8_bits(among_copies(victim, images))
        with torch.no_grad():
            classes = logits_of(images[:1]).shape[1]
        count = min(settings.targets, CANDIDATES, classes - 1)
        targets = labels.new_zeros(len(images), count)

        def choose_nearest(images_adv: Tensor, places: Tensor) -> Tensor:
            targets[places] = nearest_classes(logits_of, images[places], labels[places], count)
            return images_adv

        @torch.no_grad()
        def choose_again(images_adv: Tensor, places: Tensor) -> Tensor:
            wrong = logits_of(images_adv).scatter(1, labels[places, None], -torch.inf)
            targets[places] = wrong.topk(count, dim=1).indices
            return images_adv

        def towards_target(rank: int, places: Tensor) -> Objective:
            return towards(logits_of, labels[places], targets[places, rank])

        def rounds_of(objective_of: Callable[[Tensor], Objective]) -> list[Callable[[Tensor, Tensor], Tensor]]:
            def advance(images_adv: Tensor, places: Tensor, *, quarter: int) -> Tensor:
                return pgd(
                    objective_of(places),
                    images[places],
                    ball=ball,
                    step_size=ball.eps / 2**quarter,
                    steps=bounds[quarter + 1] - bounds[quarter],
                    noise=noise.take(places),
                    start=images_adv if quarter else None,
                )

            return [partial(advance, quarter=quarter) for quarter in range(QUARTERS)]

        untargeted = [
            *rounds_of(lambda places: cross_entropy(logits_of, labels[places])),
            *rounds_of(lambda places: margin(logits_of, labels[places])),
        ]
        targeted = [one for rank in range(count) for one in rounds_of(partial(towards_target, rank))]
        rounds = [*untargeted, choose_nearest, *targeted]
        rounds += [*untargeted, choose_again, *targeted] * (settings.restarts - 1)
        return attack_survivors(rounds, images, fooled=fooled_by(logits_of, labels))

    return attack


def none_fooled(images_adv: Tensor, places: Tensor) -> Tensor:
    """Count no image as fooled: behind a random defence one draw proves nothing, so each is attacked to the end."""
    return torch.zeros_like(places, dtype=torch.bool)


def fooled_by(logits_of: Encoder, labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that says which images of a batch are classified wrongly."""

    @torch.no_grad()
    def fooled(images_adv: Tensor, places: Tensor) -> Tensor:
        return logits_of(images_adv).argmax(-1) != labels[places]

    return fooled


def package_attack(victim: Victim, *, eps: float, version: str, seed: int, queries: int = OFFICIAL) -> Attack:
    """Return AutoAttack or Square, on images as they would be stored."""

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        logits_of = through_8_bits(victim)
        return auto_attack(logits_of, images, labels, eps=eps / 255, version=version, queries=queries, seed=seed)

    return attack
