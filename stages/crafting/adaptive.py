"""Adaptive attacks, through the method under test, from their blocks in params.yaml."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from stages.attacks.autoattack import ATTACKS, attacks_for, auto_attack
from stages.attacks.eight_bit import through_8_bits
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, dlr, margin
from stages.attacks.pgd import pgd
from stages.crafting.shards import Attack, steps_of
from stages.crafting.suite import DRAWS, among_copies, attack_in_rounds, suite_attack
from stages.defences.bpda import expectation
from stages.defences.victim import Victim
from stages.runtime.params import AdaptiveAttack, AutoAttack, PromptPgd, Square, Suite

Encoder = Callable[[Tensor], Tensor]
OBJECTIVES = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
OFFICIAL = 5001  # queries of AutoAttack's Square, its first guess included
ROUND = 10  # steps of PGD between two checks of which images are fooled already


def adaptive_attack(
    settings: AdaptiveAttack, victim: Victim, *, seed: int, made_by: dict[str, str] | None = None
) -> Attack:
    """Return the attack on a victim that a block of params.yaml describes; `made_by` as for `suite_attack`.

    Raises:
        ValueError: If the victim is random and the attack cannot average over chance.
    """
    if victim.is_random and not isinstance(settings, PromptPgd | Suite):
        raise ValueError(
            f"{settings.method}: is no attack on a random defence; use method: suite or pgd, with samples > 1"
        )
    match settings:
        case PromptPgd():
            return pgd_attack(settings, victim)
        case Suite():
            return suite_attack(settings, victim, made_by)
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
    """Return PGD with restarts; it stops for an image that is fooled as stored."""
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
        return attack_in_rounds(rounds * settings.restarts, victim, images, labels, noise, first=DRAWS).images

    return attack


def package_attack(victim: Victim, *, eps: float, version: str, seed: int, queries: int = OFFICIAL) -> Attack:
    """Return AutoAttack or Square, on images as they would be stored."""

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        logits_of = through_8_bits(victim)
        return auto_attack(logits_of, images, labels, eps=eps / 255, version=version, queries=queries, seed=seed)

    return attack
