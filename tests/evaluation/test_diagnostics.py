"""The diagnostics pass honest models and find known-bad evaluations, each by the check that is meant for it."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

from stages.crafting.batching import Batching
from stages.defences.bits import bits
from stages.defences.clipure import clipure_cos
from stages.defences.defence import Defence
from stages.defences.inner import Unrolled
from stages.defences.test_time import TestTime
from stages.evaluation.diagnostics import Diagnostics, outcomes_table
from stages.report.assessment import checks_of, curve
from stages.runtime.params import Assess
from stages.storage.images import Images
from tests.victims import Toy

CLASSES, SIDE = 4, 8
GENERATOR = np.random.default_rng(0)
PATTERNS = GENERATOR.choice([-1, 1], (CLASSES, SIDE, SIDE, 3))
WEIGHTS = torch.tensor(PATTERNS, dtype=torch.float32).permute(0, 3, 1, 2).flatten(1)


def honest(images):
    """A matched filter for each class."""
    return 0.3 * (images.flatten(1) - 0.5) @ WEIGHTS.T


def cosine(images):
    """The same filter on directions."""
    return (
        20 * F.normalize(images.flatten(1), dim=-1) @ F.normalize(WEIGHTS - WEIGHTS.mean(1, True), dim=-1).T.to(images)
    )


def clipure(images, model, inner):
    """CLIPure-Cos on features in half precision, as released: the gradient is divided by 30 in every step."""
    model = model._replace(encode=lambda images, encode=model.encode: encode(images).half())
    blank = F.normalize(torch.ones(3 * SIDE**2, dtype=torch.half), dim=0)
    return clipure_cos(images, model, inner, blank=blank, steps=10, step_size=30).float()


def blunted(images):
    """Logits so large that the softmax is exactly 0 or 1, rounded to half precision."""
    return (1e4 * honest(images)).clamp(-6e4, 6e4).half().float()


def gate(images, model, inner, *, cut):
    """Fades images that are rougher than usual; `cut` hides from an attacker what opens the gate."""
    distance = 0.05 - (images - images.mean(0)).abs().mean((1, 2, 3))
    is_open = inner.is_open(distance.detach() if cut else distance)
    return model.logits(torch.where(is_open[:, None, None, None], 0.9 * images + 0.05, images))


def insistent(images, model, inner):
    """Triple the logits once two are close to each other: along an attack the loss rises, and falls at that point."""
    logits = model.logits(images)
    first, second = logits.topk(2).values.unbind(1)
    return torch.where(inner.is_open(first - second - 2.5)[:, None], 3 * logits, logits)


def coupled(images):
    """Sees the mean of the batch."""
    return honest(images - images.mean(0))


def spoiling(images, model, *, clean):
    """Answers attacks rightly and clean images wrongly: an attacker who does not know it makes it better."""
    distance = (images[:, None] - clean).flatten(2).norm(dim=2)
    logits = model.logits(clean[distance.argmin(1)]) + 0 * images.sum((1, 2, 3))[:, None]
    return torch.where(distance.amin(1)[:, None] == 0, logits.roll(1, 1), logits)


def reverses(images):
    """Let the gradient point away from where the loss rises."""
    return 2 * images.detach() - images


def misleading(images, model, inner):
    """Let the gradient point there only for an attacker who unrolls steps."""
    return model.logits(images if isinstance(inner, Unrolled) else reverses(images))


@pytest.fixture
def shard():
    """Forty images: a class's pattern on grey, from hardly to well visible, in noise."""
    labels = np.arange(40) % CLASSES
    strength = np.linspace(1, 20, 40)[:, None, None, None]
    pixels = 127 + strength * PATTERNS[labels] + GENERATOR.integers(-3, 4, (40, SIDE, SIDE, 3))
    return Images([f"test/{index}" for index in range(40)], labels, pixels.round().astype(np.uint8))


def diagnostics(victim, shard, *, autoattack_images=10):
    budget = {"at_eps": 8, "eps": [2, 4, 8, 64], "steps": [5, 10], "autoattack_images": 10, "queries": 200}
    settings = Assess(method="tune_bank/advpt", images="all", **budget)
    return Diagnostics(victim, shard, settings, 0, torch.device("cpu"), Batching(2, 2), autoattack_images)


def outcomes(victim, shard, folder, **options):
    return outcomes_table(shard.ids, list(diagnostics(victim, shard, **options).measurements(folder)))


def statuses(victim, shard, folder):
    return {check.name: check.status for check in checks_of(outcomes(victim, shard, folder).to_pandas())}


def test_shards_measured_apart_come_to_what_the_whole_does(shard, tmp_path):
    """But for AutoAttack and Square, to whose noise it matters who is in a batch."""
    first = outcomes(Toy(honest), shard.take(slice(0, 24)), tmp_path / "a")
    second = outcomes(Toy(honest), shard.take(slice(24, 40)), tmp_path / "b", autoattack_images=0)
    whole = outcomes(Toy(honest), shard, tmp_path / "c").to_pandas().query("measure != 'batch_matters'")
    found = pa.concat_tables([first, second]).to_pandas().query("measure != 'batch_matters'")
    found, whole = (
        table.set_index(["measure", "attack", "eps", "steps", "id"]).sort_index() for table in (found, whole)
    )
    assert found.index.equals(whole.index) and len(whole.loc["correct", "autoattack"]) == 10
    found, whole = (table.query("attack not in ('autoattack', 'square')") for table in (found, whole))
    assert found.equals(whole)


HONEST = {
    "plain": Toy(honest),
    "processed": Toy(honest, Defence(partial(bits, bits=5))),
    "gated": Toy(honest, test_time=TestTime(partial(gate, cut=False), is_gated=True)),
    "loss that falls where a gate opens": Toy(honest, test_time=TestTime(insistent, is_gated=True)),
}


@pytest.mark.parametrize("victim", HONEST)
def test_an_honest_model_passes_every_check(victim, shard, tmp_path):
    found = statuses(HONEST[victim], shard, tmp_path)
    assert {name: status for name, status in found.items() if status != "pass"} == {}
    assert len(found) == 14 + HONEST[victim].is_defended + HONEST[victim].is_gated


@pytest.mark.parametrize(
    ("victim", "count"),
    [(Toy(honest, Defence(reverses)), 40), (Toy(honest, test_time=TestTime(misleading)), 0)],
    ids=["no way", "one of two ways"],
)
def test_the_loss_stays_where_it_rises_in_no_way_of_differentiating_the_defence(shard, victim, count):
    (stays,) = [one.outcomes for one in diagnostics(victim, shard).gradients() if one.measure == "loss_stays"]
    assert stays.sum() == count


MASKING = "PGD through the defence is no weaker than PGD without it"
CANARIES = {
    "vanishing gradient of CLIPure": (Toy(cosine, test_time=TestTime(clipure)), MASKING),
    "blunted logits": (Toy(blunted), "gradients are not zero"),
    "gate without gradient": (
        Toy(honest, test_time=TestTime(partial(gate, cut=True), is_gated=True)),
        "the gate has a gradient",
    ),
    "coupled batch": (Toy(coupled), "logits do not depend on the batch"),
    "Square below gradients": (
        Toy(lambda images: honest(reverses(images))),
        "Square gains at most a point over gradients",
    ),
    "transfer below white-box": (Toy(honest, Defence(reverses)), MASKING),
}


@pytest.mark.parametrize("canary", CANARIES)
def test_a_known_bad_evaluation_is_found_by_its_check(canary, shard, tmp_path):
    victim, check = CANARIES[canary]
    assert statuses(victim, shard, tmp_path)[check] == "fail"


def test_robust_above_clean_is_found(shard, tmp_path):
    clean = torch.tensor(shard.pixels).permute(0, 3, 1, 2) / 255
    victim = Toy(honest, test_time=TestTime(partial(spoiling, clean=clean)))
    assert statuses(victim, shard, tmp_path)["no attack helps"] == "fail"


def test_accuracies_of_the_honest_model_are_those_of_the_closed_form(shard, tmp_path):
    """Of a linear model, eps times the L1 distance of two weights is what an attack takes from their margin."""
    by_eps = curve(outcomes(Toy(honest), shard, tmp_path).to_pandas(), "pgd", "eps")
    margins = honest(torch.tensor(shard.pixels).permute(0, 3, 1, 2) / 255)
    for eps in (0, 2, 4, 8):
        right = margins[torch.arange(40), shard.labels][:, None] - margins
        taken = 0.3 * eps / 255 * (WEIGHTS[shard.labels][:, None] - WEIGHTS[None]).abs().sum(-1)
        robust = ((right - taken > 0) | (torch.arange(CLASSES) == torch.tensor(shard.labels)[:, None])).all(1)
        assert by_eps[eps] == pytest.approx(robust.float().mean().item(), abs=0.051)


def test_a_random_model_is_found(shard, tmp_path):
    generator = torch.Generator().manual_seed(0)

    def random(images):
        return honest(images) + 0.01 * torch.rand(len(images), CLASSES, generator=generator)

    measured = {line.measure: line.outcomes.sum() for line in diagnostics(Toy(random), shard).exact(tmp_path)}
    assert measured["logits_differ"] == 40 and measured["outside"] == 0
