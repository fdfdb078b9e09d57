"""Adaptive attacks: they go up what they say, through the very victim, and an image is alone in its batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.attacks.noise import ImageNoise
from stages.crafting.adaptive import adaptive_attack, among_copies, left_out
from stages.defences.defence import defence_of
from stages.defences.inner import Apart, Closed, Constant
from stages.defences.test_time import TestTime
from stages.defences.victim import CONSTANT
from stages.models.device import to_tensor
from stages.runtime.method_blocks import Jpeg, ResizePad
from stages.runtime.params import AutoAttack, PromptPgd, Square, Suite
from stages.storage.images import Images
from tests.victims import CPU, Toy, attacked, frozen, labelled, noisy, predicted, random_victim

PGD = PromptPgd(
    method="pgd", objective="cross_entropy", eps=4, steps=40, step_ratio=2.5, restarts=1, images="all", tuning_seeds=1
)
SUITE = Suite(method="suite", eps=4, steps=20, restarts=2, targets=2, images="all", tuning_seeds=1)


@pytest.mark.parametrize("objective", ["cross_entropy", "margin"])
def test_the_adaptive_attack_goes_through_the_prompt_of_its_seed(clip, shard, objective):
    """Images that are wrong already stay as they are, so each is judged against what its prompt took it for."""
    settings = PGD.model_copy(update={"objective": objective})
    shard = labelled(random_victim(clip, seed=1), shard)
    moved = attacked(adaptive_attack(settings, random_victim(clip, seed=1), seed=0), shard, 4)

    def losses(images, seed):
        logits = random_victim(clip, seed=seed)(to_tensor(images.pixels, CPU))
        return F.cross_entropy(logits, torch.from_numpy(images.labels), reduction="none")

    assert (losses(moved, 1) > losses(noisy(shard, 4), 1)).all()
    assert (losses(moved, 1) - losses(shard, 1)).mean() > 2 * (losses(moved, 0) - losses(shard, 0)).mean()


def test_an_image_that_is_fooled_rests_and_the_others_meet_the_same_attack(clip, shard):
    """In company or alone, in rounds or all at once: PGD of 25 steps ends at the same bytes for each survivor."""
    settings = PGD.model_copy(update={"eps": 1.0, "steps": 25})
    victim = random_victim(clip)
    shard = labelled(victim, shard)
    attack = adaptive_attack(settings, victim, seed=0)
    together = attacked(attack, shard, 1)
    for index in range(3):
        alone = attacked(attack, shard.take(np.array([index])), 1).pixels[0]
        assert np.array_equal(alone, together.pixels[index])
    right = predicted(victim, together) == shard.labels
    assert right.any() and (together.pixels[right] != shard.pixels[right]).any()


@pytest.mark.parametrize(
    "block", [Jpeg(kind="jpeg", quality=60), ResizePad(kind="resize_pad", smallest=0.7)], ids=["jpeg", "pad"]
)
def test_the_attack_through_a_defence_beats_the_one_that_ignores_it(clip, shard, block):
    """Judged through the defence, with chance that the attacker has not seen."""
    settings = PGD.model_copy(update={"steps": 20, "samples": 4})
    defence = defence_of(block)
    knowing, ignoring = random_victim(clip, defence=defence), random_victim(clip)

    def logits_of(images):
        noise = ImageNoise(0, images.ids).beside("defence")
        return ignoring(defence(to_tensor(images.pixels, CPU), noise))

    shard = replace(shard, labels=logits_of(shard).argmax(-1).numpy())
    moved = [attacked(adaptive_attack(settings, one, seed=0), shard, 4) for one in (knowing, ignoring)]
    losses = [F.cross_entropy(logits_of(images), torch.from_numpy(shard.labels)).item() for images in (*moved, shard)]
    assert losses[0] > 1.05 * max(losses[1:])


@pytest.mark.parametrize(
    "settings",
    [
        AutoAttack(method="autoattack", version="fast", eps=4, images=1, tuning_seeds=1, batch_size=1),
        Square(method="square", queries=5, eps=4, images=1, tuning_seeds=1, batch_size=1),
    ],
    ids=lambda settings: settings.method,
)
def test_an_attack_that_cannot_average_refuses_a_random_defence(clip, settings):
    victim = random_victim(clip, defence=defence_of(ResizePad(kind="resize_pad", smallest=0.7)))
    with pytest.raises(
        ValueError, match=f"{settings.method}: .*random defence; use method: suite or pgd, with samples > 1"
    ):
        adaptive_attack(settings, victim, seed=0)


@pytest.mark.parametrize("settings", [PGD, SUITE], ids=["pgd", "suite"])
def test_an_adaptive_attack_changes_no_weight(clip, shard, settings):
    with frozen(clip):
        attacked(adaptive_attack(settings, random_victim(clip), seed=0), shard, 4)


@pytest.mark.parametrize(
    ("count", "batch", "shown"),
    [(1, 40, 32), (8, 32, 32), (31, 32, 32), (32, 40, 32), (33, 40, 33), (1, 8, 8)],
)
def test_the_towers_see_32_images_or_as_many_as_the_batch_has(count, batch, shown):
    """On processors of today, matrix products of fewer rows take other kernels, whose sums differ in the last bit."""
    seen = []

    def classify(images):
        seen.append(len(images))
        return images.mean((2, 3))

    images = torch.rand(count, 3, 4, 4)
    logits_of = among_copies(Toy(classify), torch.zeros(batch, 3, 4, 4))
    torch.testing.assert_close(logits_of(images), images.mean((2, 3)))
    assert seen == [shown]


@pytest.mark.parametrize("count", [1, 7, 31])
def test_logits_are_the_same_bits_with_however_few_images(clip, count):
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits_of = among_copies(random_victim(clip), images)
    assert torch.equal(logits_of(images[5 : 5 + count]), logits_of(images)[5 : 5 + count])


def test_copies_draw_no_chance():
    """An image meets the same random defence alone as in company."""
    images, ids = torch.rand(40, 3, 16, 16), [str(index) for index in range(40)]
    victim = Toy(lambda images: images.flatten(1), defence_of(ResizePad(kind="resize_pad", smallest=0.5)))
    together, alone = (among_copies(victim, images)(images[:n], ImageNoise(0, ids[:n])) for n in (40, 3))
    assert torch.equal(alone, together[:3])


def test_restarts_are_no_weaker(clip, shard):
    victim = random_victim(clip)
    shard = labelled(victim, shard)
    once = PGD.model_copy(update={"steps": 2, "eps": 2.0})
    fooled = {}
    for restarts in (1, 4):
        attack = adaptive_attack(once.model_copy(update={"restarts": restarts}), victim, seed=0)
        fooled[restarts] = predicted(victim, attacked(attack, shard, 2)) != shard.labels
    assert (fooled[4] >= fooled[1]).all()


def test_the_suite_finds_what_a_linear_model_allows():
    """On linear logits it is known which images can be fooled: each must be, and no other."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, 3 * 8 * 8, generator=generator)

    victim = Toy(lambda images: images.flatten(1) @ weights.T)

    pixels = np.random.default_rng(0).integers(60, 196, (64, 8, 8, 3)).astype(np.uint8)
    logits = victim(to_tensor(pixels, CPU))
    labels = logits.argmax(1)
    norms = (weights[:, None] - weights[None]).abs().sum(-1)
    needed = 255 * (logits.gather(1, labels[:, None]) - logits) / norms[labels].clamp_min(1e-12)
    nearest = needed.scatter(1, labels[:, None], torch.inf).amin(1).numpy()
    shard = Images([f"image/{index}" for index in range(64)], labels.numpy(), pixels)
    eps = int(np.median(nearest))
    attack = adaptive_attack(SUITE.model_copy(update={"eps": eps, "steps": 4, "restarts": 1}), victim, seed=0)
    fooled = predicted(victim, attacked(attack, shard, eps)) != shard.labels
    assert np.array_equal(fooled, nearest < eps) and 10 < fooled.sum() < 54


@pytest.mark.parametrize(
    ("curved", "restarts", "targets", "misses"), [(False, 1, 1, None), (True, 1, 2, 24), (True, 2, 2, None)]
)
def test_the_suite_finds_a_class_that_is_far_on_the_clean_image(curved, restarts, targets, misses):
    """Only class 2 can win, which is last there, and the way to class 1, the likeliest, leads away from it.

    Linear logits say that it is nearest. If they are flat on the clean image, that it is second shows where the attack
    on class 1 ends.
    """

    def classify(images):
        first, second, third = (255 / 4 * (images - 100 / 255)).flatten(1).unbind(1)
        slopes = (first + 0.03, second.abs() + 0.03) if curved else (1.0, 1.0)
        last = -1.9 + 1.3 * slopes[0] * first + slopes[1] * second
        wrong = [-1 + 0.3 * first - 0.3 * second, last, -1.8 + 0.1 * third]
        return 20 * torch.stack([torch.zeros_like(first), *wrong], 1)

    shard = Images([str(index) for index in range(64)], np.zeros(64, int), np.full((64, 1, 1, 3), 100, np.uint8))
    settings = SUITE.model_copy(update={"restarts": restarts, "targets": targets})
    moved = attacked(adaptive_attack(settings, Toy(classify), seed=0), shard, 4)
    right = (classify(to_tensor(moved.pixels, CPU)).argmax(1) == 0).sum()
    assert right >= misses if misses else right == 0


def test_each_part_of_the_suite_counts(clip, shard):
    """Targets and restarts fool no fewer images, and an image meets the same attack alone as in company."""
    victim = random_victim(clip)
    shard = labelled(victim, shard)

    def moved(shard, **changes):
        settings = SUITE.model_copy(update={"eps": 1.0, "steps": 8, **changes})
        return attacked(adaptive_attack(settings, victim, seed=0), shard, 1)

    whole = moved(shard)
    fooled, by_less = (predicted(victim, one) != shard.labels for one in (whole, moved(shard, restarts=1)))
    assert (fooled >= by_less).all()
    for index in range(3):
        assert np.array_equal(moved(shard.take(np.array([index]))).pixels[0], whole.pixels[index])


def test_31_autoattack_says_what_too_few_classes_leave_out():
    fast = AutoAttack(method="autoattack", version="fast", eps=4, images=1, tuning_seeds=1, batch_size=1)
    assert left_out(fast, 4) == ""
    assert left_out(fast, 3) == ", without apgd-t: its loss needs 4 classes"


@pytest.fixture
def linear() -> tuple[torch.Tensor, Images]:
    """Weights (5, 48) of linear logits, and 40 images that they classify correctly."""
    weights = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    pixels = np.random.default_rng(0).integers(60, 196, (40, 4, 4, 3)).astype(np.uint8)
    labels = (to_tensor(pixels, CPU).flatten(1) @ weights.T).argmax(1).numpy()
    return weights, Images([f"image/{index}" for index in range(40)], labels, pixels)


def test_the_suite_notes_which_attack_made_each_image(linear):
    weights, shard = linear
    victim, made_by = Toy(lambda images: images.flatten(1) @ weights.T), {}
    shard = replace(shard, labels=np.where(np.arange(40) < 3, (shard.labels + 1) % 5, shard.labels))
    moved = attacked(adaptive_attack(SUITE, victim, seed=0, made_by=made_by), shard, 4)
    wrong = predicted(victim, moved) != shard.labels
    assert list(made_by) == shard.ids and [made_by[id] for id in shard.ids[:3]] == ["none"] * 3
    assert {made_by[id] for id, is_wrong in zip(shard.ids, wrong, strict=True) if not is_wrong} == {"target 2"}
    assert "cross_entropy" in {made_by[id] for id, is_wrong in zip(shard.ids, wrong, strict=True) if is_wrong}


def test_square_finds_what_no_gradient_shows(linear):
    """Rounded logits have no gradient, so that only Square is left; alone an image meets the same squares."""
    weights, shard = linear

    def flat(images):
        return (images.flatten(1) @ weights.T * 4).round() / 4 + 1e-3 * torch.arange(5)

    victim, made_by = Toy(lambda images: flat(images.detach()) + 0 * images.flatten(1) @ weights.T), {}
    shard = labelled(victim, shard)
    settings = SUITE.model_copy(update={"eps": 16, "restarts": 1, "steps": 4})

    def moved(shard, queries):
        attack = adaptive_attack(settings.model_copy(update={"queries": queries}), victim, seed=0, made_by=made_by)
        return attacked(attack, shard, 16)

    without, whole = moved(shard, 0), moved(shard, 300)
    gained = (predicted(victim, without) == shard.labels).sum() - (predicted(victim, whole) == shard.labels).sum()
    assert 5 < gained <= list(made_by.values()).count("square")
    assert np.array_equal(moved(shard.take(np.array([7])), 300).pixels[0], whole.pixels[7])


class Gate(Toy):
    """Answers class 0, come what may, where the first pixel is bright; elsewhere the first two decide."""

    is_gated, is_defended = True, True

    def classify(self, images, noise=None, inner=CONSTANT):
        """Return two logits."""
        first, second = images.flatten(1)[:, :2].unbind(1)
        plain = torch.stack([torch.zeros_like(first), 4 * (first - 0.5) + 2 * (second - 0.5) - 0.01], 1)
        always = torch.tensor([1.0, 0.0]).expand_as(plain)
        return torch.where(inner.is_open(0.5 - first)[:, None], always, plain)

    def undefended(self):
        """Return the same with its gate shut."""
        return Toy(lambda images: self.classify(images, None, Closed()))


@pytest.mark.parametrize("is_gated", [True, False])
def test_an_attack_on_the_gate_finds_what_the_margin_alone_does_not(monkeypatch, is_gated):
    """The margin rises along both pixels; the gate opens along the first, so only the second may be used."""
    monkeypatch.setattr(Gate, "is_gated", is_gated)
    shard = Images([str(index) for index in range(40)], np.zeros(40, int), np.full((40, 2, 2, 3), 127, np.uint8))
    made_by = {}
    moved = attacked(adaptive_attack(SUITE, Gate(None), seed=0, made_by=made_by), shard, 4)
    with torch.no_grad():
        right = (Gate(None)(to_tensor(moved.pixels, CPU)).argmax(1) == 0).sum()
    assert right == (0 if is_gated else 40)
    assert not is_gated or {name.split()[0] for name in made_by.values()} == {"gate"}


def of_mirror_image(images, model):
    """Classify two mirror images; the gradient goes through each of them, but not through their mean."""
    return (
        model.combine(torch.stack([model.logits(images.flip(-1))] * 2, dim=1)).detach() + 0 * images.flatten(1)[:, :1]
    )


def test_views_kept_apart_add_to_what_the_suite_finds(linear, monkeypatch):
    """With them no image is right that is wrong without; where only views have a gradient, only they are successful."""
    weights, shard = linear
    victim, made_by = Toy(lambda features: features.flatten(1) @ weights.T, test_time=TestTime(of_mirror_image)), {}
    shard = labelled(victim, shard)

    def wrong():
        attack = adaptive_attack(SUITE.model_copy(update={"eps": 16}), victim, seed=0, made_by=made_by)
        return predicted(victim, attacked(attack, shard, 16)) != shard.labels

    with_views = wrong()
    assert (np.array([*made_by.values()])[with_views] == "views").sum() > 5
    monkeypatch.setattr(Apart, "combine", Constant.combine)
    without = wrong()
    assert (with_views >= without).all() and without.sum() < with_views.sum() - 5
