"""The suite: several attacks through a method, each on the images that none before it has fooled."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.attacks.eight_bit import through_8_bits
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import alike, cross_entropy, margin, towards
from stages.attacks.pgd import Momentum, Objective, pgd
from stages.attacks.square import square
from stages.attacks.survivors import Attack as Attempt
from stages.attacks.survivors import Attacked, Score, attack_by_score, attack_survivors
from stages.attacks.targets import CANDIDATES, nearest_classes
from stages.crafting.batching import SMALLEST_BATCH
from stages.crafting.shards import Attack
from stages.defences.inner import Apart, Closed, Inner
from stages.defences.victim import CONSTANT, Victim
from stages.runtime.params import Suite

VERSION = 4  # in the provenance of all that the suite has made: raise it whenever its attacks change
Encoder = Callable[[Tensor], Tensor]
Seen = Callable[..., Tensor]  # images (n, C, H, W) and their `places` in the batch (n,) -> logits (n, K)
WEIGHTS = (1, 10, 100, 1000)  # of the distance to an open gate, beside the margin
SQUARE_ROUNDS = 10  # between them Square checks which images are fooled
MOMENTUM = 0.75  # behind a random defence, which each step sees in another draw
QUARTERS = 4  # of each attack, each with its own step size; between them it checks which images are fooled
DRAWS = 10  # of a random defence; all must be wrong before an image counts as fooled
FIRST = 1  # of these: an image on which they are right is not judged by the others
TOGETHER = 3  # of the others, in one batch; a divisor of their number


class Round(NamedTuple):
    """An attack, or a part of one, and what to call it."""

    name: str
    attempt: Attempt


# a name, and a map from places (n,) to what is maximised for the images there -> PGD, see `rounds_of_pgd`
Ascend = Callable[[str, Callable[[Tensor], Objective]], list[Round]]


def suite_attack(settings: Suite, victim: Victim, made_by: dict[str, str] | None = None) -> Attack:
    """Return a suite of attacks, each on the images that none before it has fooled as they would be stored.

    A method behind a defence is attacked without the defence first, then through it in every way in which it can be
    differentiated, then with its gate held shut or its views kept apart. Where it is random, `samples` times as many
    steps are taken, each through one draw, along their momentum. The images that are left then meet Square, which sees
    the mean logits of `samples` draws.

    Args:
        settings: The attacks.
        victim: The model under attack.
        made_by: Where to note the name of the attack that made each image, by its id; `none` for a clean image.
    """

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        seen = partial(seen_through, victim=victim, images=images, noise=noise)
        plain = partial(rounds_of_pgd, settings=settings, images=images, noise=noise)
        ascend = plain if not victim.is_random else partial(plain, draws=settings.samples)
        apart = Apart()
        with torch.no_grad():  # with noise of its own: no image may lose a draw for being the first of its batch
            classes = victim(images[:1], noise.beside("classes").take(torch.zeros(1, dtype=torch.long)), apart).shape[1]
        through = partial(rounds_through, settings=settings, images=images, labels=labels, classes=classes)
        rounds: list[Round] = []
        if victim.is_defended:
            rounds += through("undefended/", ignoring_places(among_copies(victim.undefended(), images)), plain)
        for inner in victim.ways:
            rounds += through(inner.name, seen(inner), ascend)
        if victim.is_gated:
            rounds += rounds_at_gate(seen(Closed()), ascend, labels)
        if apart.logits is not None:
            rounds += rounds_on_views(seen(apart), ascend, labels)
        if settings.queries:
            rounds += rounds_of_square(seen(CONSTANT, samples=settings.samples), settings, images, labels, noise)
        found = attack_in_rounds([one.attempt for one in rounds], victim, images, labels, noise, first=FIRST)
        if made_by is not None:
            names = [*(one.name for one in rounds), "none"]  # of the clean image the index is -1
            made_by.update(zip(noise.ids, (names[index] for index in found.made_by.tolist()), strict=True))
        return found.images

    return attack


def attack_in_rounds(
    attempts: Sequence[Attempt], victim: Victim, images: Tensor, labels: Tensor, noise: ImageNoise, *, first: int
) -> Attacked:
    """Attack each image until it fools the victim as it would be stored: a random one in all of DRAWS draws.

    Of an image that never gets there, a random victim's version with most wrong draws is kept, or the last one if the
    `first` draws, without which no others are taken, are right on all versions.
    """
    judge = among_copies(victim, images)
    if victim.is_random:
        score = wrong_draws(judge, labels, noise.beside("draws"), first=first)
        return attack_by_score(attempts, images, score=score, enough=DRAWS)
    return attack_survivors(attempts, images, fooled=fooled_by(through_8_bits(judge), labels))


def rounds_through(
    way: str, seen: Seen, ascend: Ascend, *, settings: Suite, images: Tensor, labels: Tensor, classes: int
) -> list[Round]:
    """Return the attacks through one view of the victim, in the order in which they go.

    The cross-entropy and the margin go first, then the nearest wrong classes: at first those on the clean image if
    logits were linear, in every further restart those nearest to winning where the attack on the margin ended.
    """
    count = min(settings.targets, CANDIDATES, classes - 1)
    targets = labels.new_zeros(len(images), count)

    def logits_at(places: Tensor) -> Encoder:
        return through_8_bits(partial(seen, places=places))

    def choose_nearest(images_adv: Tensor, places: Tensor) -> Tensor:
        targets[places] = nearest_classes(logits_at(places), images[places], labels[places], count)
        return images_adv

    @torch.no_grad()
    def choose_again(images_adv: Tensor, places: Tensor) -> Tensor:
        wrong = logits_at(places)(images_adv).scatter(1, labels[places, None], -torch.inf)
        targets[places] = wrong.topk(count, dim=1).indices
        return images_adv

    def towards_target(rank: int, places: Tensor) -> Objective:
        return towards(logits_at(places), labels[places], targets[places, rank])

    def rounds_of(name: str, objective_of: Callable[[Tensor], Objective]) -> list[Round]:
        return ascend(f"{way}{name}", objective_of)

    untargeted = [
        *rounds_of("cross_entropy", lambda places: cross_entropy(logits_at(places), labels[places])),
        *rounds_of("margin", lambda places: margin(logits_at(places), labels[places])),
    ]
    targeted = [one for rank in range(count) for one in rounds_of(f"target {rank + 1}", partial(towards_target, rank))]
    first, then = (Round(untargeted[-1].name, choose) for choose in (choose_nearest, choose_again))
    again = [*untargeted, then, *targeted]
    return [*untargeted, first, *targeted, *again * (settings.restarts - 1)]


def rounds_of_pgd(
    name: str,
    objective_of: Callable[[Tensor], Objective],
    *,
    settings: Suite,
    images: Tensor,
    noise: ImageNoise,
    draws: int | None = None,
) -> list[Round]:
    """Return PGD in quarters: it begins with a step of eps, which is halved after each.

    An objective that is another draw in each call is averaged over steps by their momentum instead of in each step:
    as many gradients, more steps.

    Args:
        name: Of the attack.
        objective_of: Maps places (n,) to what is maximised for the images there.
        settings: Its eps and steps.
        images: The clean batch (N, C, H, W).
        noise: Of its images.
        draws: How many times as many steps are taken, with momentum, where the objective is random.

    Source: Athalye et al. 2018 (EOT), sec. 4.2; Dong et al. 2018 (momentum).
    """
    ball = LinfBall(settings.eps / 255)
    bounds = [settings.steps * (draws or 1) * quarter // QUARTERS for quarter in range(QUARTERS + 1)]

    def advance(images_adv: Tensor, places: Tensor, *, quarter: int) -> Tensor:
        return pgd(
            objective_of(places),
            images[places],
            ball=ball,
            step_size=ball.eps / 2**quarter,
            steps=bounds[quarter + 1] - bounds[quarter],
            noise=noise.take(places),
            direction=Momentum(MOMENTUM) if draws else None,
            start=images_adv if quarter else None,
        )

    return [Round(name, partial(advance, quarter=quarter)) for quarter in range(QUARTERS)]


def rounds_at_gate(seen: Seen, ascend: Ascend, labels: Tensor) -> list[Round]:
    """Return attacks that fool the victim behind its shut gate and keep the gate from opening, by the weight of that.

    Args:
        seen: Maps images and places to logits behind the shut gate and, in a last column, how far short of its
            threshold the gate is, as a negative number; 0 where it is shut by itself.
        ascend: Maps a name and an objective of places to rounds, see `rounds_of_pgd`.
        labels: Right classes (N,).
    """

    def objective_of(places: Tensor, *, weight: float) -> Objective:
        def objective(images_adv: Tensor) -> Tensor:
            found = through_8_bits(partial(seen, places=places))(images_adv)
            return margin(lambda _: found[:, :-1], labels[places])(images_adv) + weight * found[:, -1]

        return objective

    return [one for weight in WEIGHTS for one in ascend(f"gate {weight}", partial(objective_of, weight=weight))]


def rounds_on_views(seen: Seen, ascend: Ascend, labels: Tensor) -> list[Round]:
    """Return attacks that make each view wrong by itself, and all of them alike.

    Args:
        seen: Maps images and places to the logits (n, V, K) of their views.
        ascend: As for `rounds_at_gate`.
        labels: Right classes (N,).
    """

    def objective_of(places: Tensor) -> Objective:
        return alike(through_8_bits(partial(seen, places=places)), labels[places])

    return ascend("views", objective_of)


def rounds_of_square(seen: Seen, settings: Suite, images: Tensor, labels: Tensor, noise: ImageNoise) -> list[Round]:
    """Return Square on the margin, with streams of noise of its own."""
    ball, squares = LinfBall(settings.eps / 255), noise.beside("square")
    bounds = [settings.queries * index // SQUARE_ROUNDS for index in range(SQUARE_ROUNDS + 1)]

    def advance(images_adv: Tensor, places: Tensor, *, queries: range) -> Tensor:
        return square(
            margin(through_8_bits(partial(seen, places=places)), labels[places]),
            images[places],
            ball=ball,
            queries=queries,
            noise=squares.take(places),
            start=images_adv if queries.start else None,
        )

    return [Round("square", partial(advance, queries=range(*ends))) for ends in pairwise(bounds) if ends[0] < ends[1]]


def seen_through(inner: Inner, *, victim: Victim, images: Tensor, noise: ImageNoise, samples: int = 1) -> Seen:
    """Return what an attacker sees of survivors of a batch: logits, those beside the gate, or those of each view.

    Args:
        inner: How to differentiate the defence.
        victim: The model under attack.
        images: The clean batch (N, C, H, W).
        noise: Of its images.
        samples: Draws of a random victim whose mean is seen.
    """
    logits_of = among_copies(victim, images, inner)
    if isinstance(inner, Closed):
        logits_of = beside_distance(logits_of, inner)
    if isinstance(inner, Apart):
        logits_of = of_each_view(logits_of, inner)
    if not victim.is_random:
        return ignoring_places(logits_of)
    return mean_over_draws(logits_of, noise.beside("defence"), samples)


def among_copies(victim: Victim, batch: Tensor, inner: Inner = CONSTANT) -> Callable[..., Tensor]:
    """Return the victim's `forward` for survivors of a batch, in the company of copies of the first of them.

    At least SMALLEST_BATCH images are in the towers, or as many as the batch has where memory holds no more: small
    matrix products take other kernels, whose sums differ in the last bit, and it must not matter to an image how many
    others of its batch are fooled already.
    """
    smallest = min(SMALLEST_BATCH, len(batch))

    def logits_of(images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        images, missing = victim.process(images, noise), max(smallest - len(images), 0)
        together = torch.cat([images, images[:1].expand(missing, -1, -1, -1)])
        noise = noise.with_company(missing) if noise and victim.is_random else None
        return victim.classify(together.contiguous(memory_format=torch.channels_last), noise, inner)[: len(images)]

    return logits_of


def ignoring_places(logits_of: Encoder) -> Seen:
    """Return the view of a victim that is not random: it need not know whose images it sees."""
    return lambda images, places: logits_of(images)


def mean_over_draws(logits_of: Callable[..., Tensor], noise: ImageNoise, samples: int) -> Seen:
    """Return the mean logits of some draws of a random victim: expectation over transformations.

    Source: Athalye et al. 2018 (EOT), sec. 4.2.
    """

    def seen(images: Tensor, places: Tensor) -> Tensor:
        noise_of_these = noise.take(places)
        return torch.stack([logits_of(images, noise_of_these) for _ in range(samples)]).mean(0)

    return seen


def of_each_view(logits_of: Callable[..., Tensor], apart: Apart) -> Callable[..., Tensor]:
    """Return the logits (n, V, K) of the views of each image."""

    def each(images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        logits_of(images, noise)
        assert apart.logits is not None
        return apart.logits[: len(images)].float()

    return each


def beside_distance(logits_of: Callable[..., Tensor], closed: Closed) -> Callable[..., Tensor]:
    """Return logits (n, K) and in a further column how far each gate is from staying shut, as a negative number."""

    def both(images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        logits = logits_of(images, noise)
        return torch.cat([logits, closed.distance[: len(images), None].clamp(max=0)], 1)

    return both


def fooled_by(logits_of: Encoder, labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that says which images of a batch are classified wrongly."""

    @torch.no_grad()
    def fooled(images_adv: Tensor, places: Tensor) -> Tensor:
        return logits_of(images_adv).argmax(-1) != labels[places]

    return fooled


def wrong_draws(logits_of: Callable[..., Tensor], labels: Tensor, noise: ImageNoise, *, first: int) -> Score:
    """Return a function that counts how many of DRAWS draws are wrong on each image, as it would be stored.

    If all of the first draws are right, no others are taken, and the score is 0. Between as many wrong draws the mean
    margin decides, as a fraction: probabilities would saturate.
    """

    def margins_of(images_adv: Tensor, places: Tensor, draws: int = 1) -> Tensor:
        """Return (draws, n)."""
        places = places.repeat(draws)
        judge = through_8_bits(partial(logits_of, noise=noise.take(places)))
        return margin(judge, labels[places])(images_adv.repeat(draws, 1, 1, 1)).unflatten(0, (draws, -1))

    @torch.no_grad()
    def score(images_adv: Tensor, places: Tensor) -> Tensor:
        begun = torch.cat([margins_of(images_adv, places) for _ in range(first)])  # (first, n)
        scores = begun.new_zeros(len(places))
        wrong = (begun > 0).any(0).nonzero()[:, 0]
        at_once = max(len(labels) // TOGETHER, 1)  # so that the tower never has more images than the batch
        for part in wrong.split(at_once) if len(wrong) else ():
            others = [margins_of(images_adv[part], places[part], TOGETHER) for _ in range(first, DRAWS, TOGETHER)]
            margins = torch.cat([begun[:, part], *others])  # (DRAWS, n)
            scores[part] = (margins > 0).sum(0) + (1 + F.softsign(margins.mean(0))) / 3
        return scores

    return score
