"""Methods behind test-time defences: the victim, its votes, and attacks through it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.crafting import suite
from stages.crafting.adaptive import adaptive_attack
from stages.crafting.batching import Batching
from stages.crafting.shards import craft_shard
from stages.crafting.suite import suite_attack
from stages.defences.defence import defence_of
from stages.defences.inner import Apart
from stages.defences.test_time import FUNCTIONS, TestTime, test_time_of
from stages.defences.undefended import Wording
from stages.defences.victim import Victim
from stages.evaluation.image_features import embed_through, vote_through
from stages.evaluation.study import predictions_table
from stages.models.device import to_tensor
from stages.runtime.method_blocks import TEST_TIME, Defence, Jpeg, ResizePad
from stages.runtime.params import PromptPgd, Suite, load_params
from stages.storage.images import Images
from stages.storage.prompts import PromptFile
from tests.victims import CPU, attacked, frozen, random_victim

BLOCKS = {
    "random_noise": {},
    "tte": {"shift": 2},
    "view_ensemble": {"views": 2},
    "anti_adversary": {},
    "ttc": {},
    "r_tpt": {"views": 3, "neighbours": 2},
    "csr": {"radius": 6.0},
    "et3": {"step_size": 0.3},
    "clipure_cos": {"steps": 2, "step_size": 0.1},
}
SHARED = {"eps": 4, "images": "all", "tuning_seeds": 1, "samples": 2}
SUITE = Suite(**SHARED, method="suite", steps=8, restarts=1, targets=1)
PGD = PromptPgd(**SHARED, method="pgd", objective="margin", steps=20, step_ratio=2.5, restarts=2)
assert BLOCKS.keys() == TEST_TIME == FUNCTIONS.keys()


def behind(clip, kind: str, **changed: object) -> Victim:
    """Random text features behind a defence."""
    block = TypeAdapter(Defence).validate_python({"kind": kind, **BLOCKS[kind], **changed})
    plain = random_victim(clip)
    turn = torch.randn(128, 128, generator=torch.Generator().manual_seed(5)) / 10
    wording = Wording(
        torch.zeros(2, 128),
        lambda contexts: F.normalize(plain.text_features + contexts.mean(-2, keepdim=True) @ turn, dim=-1),
    )
    defence = test_time_of(block, blank=lambda: F.normalize(torch.ones(128), dim=0), wording=lambda: wording)
    return random_victim(clip, test_time=defence)


def votes(victim: Victim, shard: Images, **changes: int) -> np.ndarray:
    """The votes of a victim (N, K)."""
    runtime = load_params().runtime.model_copy(update=changes)
    return vote_through(victim, shard, seed=0, device=CPU, runtime=runtime).embeddings


@pytest.fixture(params=BLOCKS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_logits_of_an_image_do_not_depend_on_its_company(clip, images, kind):
    victim, ids = behind(clip, kind), [str(index) for index in range(40)]
    with torch.no_grad():
        together = victim(images, ImageNoise(0, ids))
        fewer = victim(images[3:37], ImageNoise(0, ids[3:37]))
    torch.testing.assert_close(fewer, together[3:37], rtol=0, atol=2e-5)


def test_it_is_random_if_two_calls_differ(clip, images, kind):
    victim = behind(clip, kind)
    with torch.no_grad():
        first, second = victim(images), victim(images)
    assert torch.equal(first, second) is not victim.is_random


def test_what_an_attacker_may_do_to_each_kind(clip, kind):
    victim = behind(clip, kind)
    takes_steps = kind in ("anti_adversary", "ttc", "csr", "et3", "clipure_cos")
    assert [way.name for way in victim.ways] == ["", "unrolled/"][: 1 + takes_steps]
    assert victim.is_gated is (kind in ("ttc", "csr"))
    assert victim.is_random is (kind in ("random_noise", "view_ensemble", "ttc", "r_tpt"))


def test_every_way_gives_the_same_logits_and_a_gradient(clip, images, kind):
    victim = behind(clip, kind)
    found = []
    for inner in [*victim.ways, Apart()]:
        points = images[:4].clone().requires_grad_()
        logits = victim(points, ImageNoise(0, list("abcd")), inner)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), points)
        assert gradient.flatten(1).norm(dim=1).min() > 0
        found.append(logits.detach())
    torch.testing.assert_close(found[0], found[-1], rtol=0, atol=1e-4)
    views = {"tte": 10, "view_ensemble": 2, "r_tpt": 3}
    assert (inner.logits is not None) is (kind in views)
    if kind in views:
        assert inner.logits.shape == (4, views[kind], 3) and inner.logits.requires_grad


def test_no_weight_takes_a_gradient(clip, images, kind):
    victim = behind(clip, kind)
    with frozen(clip), torch.no_grad():
        victim(images[:2])


def test_votes_do_not_depend_on_batches(clip, shard, kind):
    victim = behind(clip, kind)
    few, many = (votes(victim, shard, batch_size=size) for size in (32, 250))
    np.testing.assert_allclose(few, many, atol=1e-5)
    assert not victim.is_random or ((few * 5).round().sum(1) == 5).all(), "five draws vote"


def tossed(images, model, noise):
    """Answer class 0 or class 1, as often, and class 2 never."""
    return F.one_hot((noise.uniform((1,))[:, 0] < 0.5).long(), 3) * 5.0


def test_each_vote_is_another_draw(clip, shard):
    found = votes(random_victim(clip, test_time=TestTime(tossed)), shard)
    draws = [[f"defence/{draw}/{id}" for id in shard.ids] for draw in range(5)]
    expected = torch.stack([tossed(None, None, ImageNoise(0, ids)).argmax(1) for ids in draws])  # (5, N)
    counts = F.one_hot(expected, 3).sum(0).numpy()
    np.testing.assert_array_equal((found * 5).round(), counts)
    assert (counts.max(1) < 5).sum() > len(shard) / 2 and set(found.argmax(1)) == {0, 1}


@pytest.mark.parametrize("block", [ResizePad(kind="resize_pad", smallest=0.5), Jpeg(kind="jpeg", quality=50), None])
def test_image_processing_is_voted_on_if_it_is_random(clip, shard, block):
    """Then there are logits in place of features, of which the table of predictions has to know."""
    victim, runtime = random_victim(clip, defence=block and defence_of(block)), load_params().runtime
    bank = embed_through(victim, shard, seed=0, device=CPU, runtime=runtime)
    made_by = {"block": {"defence": block.model_dump()}} if block else {}
    prompts = PromptFile(victim.text_features[None].numpy(), victim.logit_scale, list("abc"), "{}", made_by)
    found = predictions_table(bank, prompts, title="", threat="", method="", seed=0)["prediction"].to_numpy()
    images = to_tensor(shard.pixels, CPU)
    streams = [ImageNoise(0, [f"defence/{draw}/{id}" for id in shard.ids]) for draw in range(5)]
    counts = F.one_hot(torch.stack([victim(images, noise).argmax(1) for noise in streams]), 3).sum(0)
    surest = counts.max(1).values > 2  # the majority of five
    assert surest.all() or victim.is_random
    np.testing.assert_array_equal(found[surest], counts.argmax(1)[surest])


def cut(images, model):
    """Hide the gradient of the model: the simplest broken defence."""
    return model.logits(images.detach()) + 0 * images.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("kind", ["random_noise", "anti_adversary", "clipure_cos", "cut"])
def test_the_suite_goes_through_the_defence_and_around_it(clip, shard, kind):
    """The ball holds. Where a defence hides its gradient, images of the undefended model still count."""
    victim = random_victim(clip, test_time=TestTime(cut)) if kind == "cut" else behind(clip, kind)
    shard = replace(shard, labels=votes(victim, shard).argmax(1))
    crafted = attacked(suite_attack(SUITE, victim), shard, 4)
    assert np.abs(crafted.pixels.astype(int) - shard.pixels).max() <= 4
    assert (votes(victim, crafted).argmax(1) == shard.labels).mean() < 0.5


def rarely_wrong(images, model, noise):
    """Answer class 1 in four draws of ten, and nearly always once an image is brighter than it was."""
    drawn = noise.uniform((1,))[:, 0]
    wrong = drawn < 0.4 + 60 * (images.flatten(1).mean(1).detach() - 0.5)
    gradient = images.flatten(1).sum(1)
    return F.one_hot(wrong.long(), 3) * 5.0 + F.one_hot(torch.ones(len(images)).long(), 3) * gradient[:, None] * 1e-3


@pytest.mark.parametrize("settings", [SUITE, PGD], ids=["suite", "pgd"])
def test_an_attack_does_not_stop_where_some_draws_happen_to_be_wrong(clip, settings):
    """Most of a few draws are wrong by luck at one check or another; the image must go on to where nearly all are."""
    victim, count = random_victim(clip, test_time=TestTime(rarely_wrong)), 32
    pixels = np.full((count, 32, 32, 3), 127, np.uint8)
    grey = Images([f"grey {index}" for index in range(count)], np.zeros(count, np.int64), pixels)
    crafted = attacked(adaptive_attack(settings, victim, seed=0), grey, 4)
    brighter = crafted.pixels.astype(int).mean((1, 2, 3)) - 127
    assert brighter.min() > 2


def never_wrong(images, model, noise):
    """Answer class 0, less surely the further an image goes along the direction of the draw."""
    along = (images * (noise.uniform((3, 32, 32)) - 0.5)).flatten(1).sum(1)
    return torch.stack([torch.full_like(along, 100), along, -along], dim=1)


def never_wrong_twice(images, model, noise):
    """Average two of its draws."""
    return model.combine(torch.stack([never_wrong(images, model, noise) for _ in range(2)], dim=1))


def in_batches(victim: Victim, shard: Images) -> list[Images]:
    """Return what the suite makes of a shard in one batch and in three, class 0 being right for all."""
    shard, ball = replace(shard, labels=np.zeros(len(shard), np.int64)), LinfBall(4 / 255)
    attack = suite_attack(SUITE, victim)
    return [craft_shard(attack, shard, ball=ball, seed=0, device=CPU, batching=Batching(n, 1)) for n in (1, 3)]


@pytest.mark.parametrize("function", [never_wrong, never_wrong_twice])
def test_no_image_loses_noise_for_being_the_first_of_its_batch(clip, shard, function):
    victim = random_victim(clip, test_time=TestTime(function))
    one, three = in_batches(victim, shard)
    assert (one.pixels != shard.pixels).any((1, 2, 3)).all()
    np.testing.assert_array_equal(one.pixels, three.pixels)


def test_behind_a_random_defence_each_step_is_one_draw_and_momentum_averages_them(clip, shard, monkeypatch):
    """Slopes are random and rise slightly on average: where single steps walk to and fro, their momentum goes up."""
    draws = []

    def rising(images, model, noise):
        along = ((images - 0.5) * noise.uniform((3, 32, 32), low=-0.45, high=0.55)).flatten(1).sum(1)
        draws.append(along.requires_grad)
        return torch.stack([torch.full_like(along, 100), along, torch.full_like(along, -100)], dim=1)

    def climb():
        victim = random_victim(clip, test_time=TestTime(rising))
        grey = replace(shard, labels=np.zeros(len(shard), np.int64), pixels=np.full_like(shard.pixels, 127))
        return (attacked(suite_attack(SUITE, victim), grey, 4).pixels.astype(int) - 127).mean()

    with_momentum = climb()
    gradients = 3 * SUITE.steps * SUITE.samples  # of the cross-entropy, of the margin, and towards one target
    assert sum(draws) == gradients + 1  # and one for the choice of targets
    monkeypatch.setattr(suite, "MOMENTUM", 0.0)
    single_steps = climb()
    assert with_momentum > 1.2 * single_steps > 0


HALF, TEN = 5 + 1 / 3, 10 + 0.5  # wrong draws, and a fraction for a mean margin of 0 and of 1


@pytest.mark.parametrize(
    ("late", "first", "draws", "scores"),
    [
        (0, 1, [1, 10, 10], [0, TEN, HALF]),
        (1, 1, [1, 10, 1], [0, TEN, 0]),
        (1, 4, [4, 10, 10], [0, TEN, HALF]),
        (1, 10, [10, 10, 10], [0, TEN, HALF]),
    ],
)
def test_only_images_with_a_wrong_one_among_the_first_draws_meet_the_others(late, first, draws, scores):
    """Image 0 is never wrong, image 1 always, image 2 in every second draw, beginning with the first or the second."""
    seen: list[int] = []

    def logits_of(images, noise):
        wrong = []
        for image in (images[:, 0, 0, 0] * 255).tolist():
            seen.append(round(image))
            wrong.append(seen[-1] == 1 or (seen[-1] == 2 and (seen.count(2) + late) % 2 == 1))
        return torch.tensor([[0.0, 1.0] if one else [1.0, 0.0] for one in wrong])

    images = torch.arange(3).div(255)[:, None, None, None]
    noise = ImageNoise(0, ["never", "always", "every second"])
    score = suite.wrong_draws(logits_of, torch.zeros(3, dtype=torch.long), noise, first=first)
    assert score(images, torch.arange(3)).tolist() == pytest.approx(scores)
    assert [seen.count(id) for id in range(3)] == draws


def wrong_by_chance(images, model, noise):
    """Answer another class in three draws of ten."""
    right = never_wrong(images, model, noise)
    return torch.where(noise.uniform((1,)) < 0.3, right.roll(1, 1), right)


def test_draws_of_an_image_do_not_depend_on_those_beside_it(clip, shard):
    victim = random_victim(clip, test_time=TestTime(wrong_by_chance))
    one, three = in_batches(victim, shard)
    assert (one.pixels != shard.pixels).any()
    np.testing.assert_array_equal(one.pixels, three.pixels)


def test_square_sees_the_mean_of_several_draws(clip, shard):
    draws = []

    def never_fooled(images, model, noise):
        draws.append(images.requires_grad)
        along = (images * noise.uniform((3, 32, 32))).flatten(1).mean(1)
        return torch.stack([torch.full_like(along, 100), along, -along], dim=1)

    def queries(**changed: int) -> int:
        """Draws without a gradient, but for the one that says after each of ten rounds that no image is fooled."""
        draws.clear()
        victim = random_victim(clip, test_time=TestTime(never_fooled))
        grey = replace(shard, labels=np.zeros(len(shard), np.int64))
        attacked(suite_attack(SUITE.model_copy(update=changed), victim), grey, 4)
        return draws.count(False) - (10 if changed["queries"] else 0)

    without = queries(queries=0, samples=1)
    one, three = (queries(queries=20, samples=samples) - without for samples in (1, 3))
    assert (one, three) == (30, 90)  # 20 queries, and the start of each round
