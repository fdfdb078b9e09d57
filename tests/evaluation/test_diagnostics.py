"""The assessment passes an honest model and fails two whose gradients are masked on purpose."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages.crafting.batching import Batching
from stages.evaluation.diagnostics import SUITE, Diagnostics, outcomes_table, summarised
from stages.report.assessment import checks_of
from stages.runtime.params import Assess, load_params
from stages.storage.images import Images
from tests.victims import Toy

CLASSES, SIDE = 4, 8
GENERATOR = np.random.default_rng(0)
PATTERNS = GENERATOR.choice([-1, 1], (CLASSES, SIDE, SIDE, 3))
WEIGHTS = torch.tensor(PATTERNS, dtype=torch.float32).permute(0, 3, 1, 2).flatten(1)


def honest(images):
    """A matched filter for each class."""
    return 0.3 * (images.flatten(1) - 0.5) @ WEIGHTS.T


def overconfident(images):
    """Its softmax is exactly 0 or 1, and the gradient of the cross-entropy 0."""
    return 1e4 * honest(images)


def coarse(images):
    """Sees 8 levels of grey; rounding has no gradient."""
    return honest((images * 7).round() / 7)


@pytest.fixture
def shard():
    """Forty images: a class's pattern on grey, from hardly to well visible, in noise."""
    labels = np.arange(40) % CLASSES
    strength = np.linspace(1, 20, 40)[:, None, None, None]
    pixels = 127 + strength * PATTERNS[labels] + GENERATOR.integers(-3, 4, (40, SIDE, SIDE, 3))
    return Images([f"test/{index}" for index in range(40)], labels, pixels.round().astype(np.uint8))


def outcomes(model, shard, folder, *, autoattack_images=10):
    settings = Assess(
        method="tune_bank/advpt",
        images="all",
        at_eps=4,
        eps=[2, 4, 8, 64],
        steps=[5, 10],
        autoattack_images=10,
        queries=50,
    )
    assessor = Diagnostics(Toy(model), shard, settings, 0, torch.device("cpu"), Batching(2, 2), autoattack_images)
    return outcomes_table(list(assessor.measurements(folder)))


def measured(model, shard, folder):
    return summarised(outcomes(model, shard, folder)).to_pandas()


def test_shards_measured_apart_come_to_what_the_whole_does(shard, tmp_path):
    """But for AutoAttack and Square, to whose noise it matters who is in a batch."""
    first = outcomes(honest, shard.take(slice(0, 24)), tmp_path / "a")
    second = outcomes(honest, shard.take(slice(24, 40)), tmp_path / "b", autoattack_images=0)
    found, whole = summarised(pa.concat_tables([first, second])).to_pandas(), measured(honest, shard, tmp_path / "c")
    assert len(first) == 24 and len(second) == 16
    assert found.drop(columns="value").equals(whole.drop(columns="value"))
    same = ~found["measure"].isin(["autoattack", "square_gain"])
    assert found[same].equals(whole[same])
    of_few = ["autoattack", "pgd_of_autoattack_images", "suite_of_autoattack_images"]
    assert found.set_index("measure").loc[of_few, "n"].tolist() == [10, 10, 10]


def test_the_suite_of_the_assessment_is_that_of_the_default_threats():
    threats = load_params().adaptive.values()
    assert all({key: getattr(threat, key) for key in SUITE} == SUITE for threat in threats)


def test_counts_are_summed_and_shares_are_means():
    table = pa.table({'["outside", "pgd", 4, 10]': [0, 3, 4], '["autoattack", "autoattack", 4, 100]': [1, 0, None]})
    assert summarised(table).to_pylist() == [
        {"measure": "outside", "attack": "pgd", "eps": 4, "steps": 10, "value": 7.0, "n": 3},
        {"measure": "autoattack", "attack": "autoattack", "eps": 4, "steps": 100, "value": 0.5, "n": 2},
    ]


def test_an_honest_model_passes_every_check(shard, tmp_path):
    checks = checks_of(measured(honest, shard, tmp_path))
    assert [(check.name, check.found) for check in checks if check.status != "pass"] == []
    assert len(checks) == 13


@pytest.mark.parametrize("model", [overconfident, coarse])
def test_masked_gradients_are_found(model, shard, tmp_path):
    status = {check.name: check.status for check in checks_of(measured(model, shard, tmp_path))}
    assert status["gradients are not zero"] == "fail"
    assert status["the loss rises along the attack"] == "fail"


def test_accuracies_of_the_honest_model_are_those_of_the_closed_form(shard, tmp_path):
    """Of a linear model, eps times the L1 distance of two weights is what an attack takes from their margin."""
    table = measured(honest, shard, tmp_path)
    margins = honest(torch.tensor(shard.pixels).permute(0, 3, 1, 2) / 255)
    for eps in (0, 2, 4, 8):
        right = margins[torch.arange(40), shard.labels][:, None] - margins
        taken = 0.3 * eps / 255 * (WEIGHTS[shard.labels][:, None] - WEIGHTS[None]).abs().sum(-1)
        robust = ((right - taken > 0) | (torch.arange(CLASSES) == torch.tensor(shard.labels)[:, None])).all(1)
        line = table[(table["attack"] == "pgd") & (table["measure"] == "accuracy") & (table["eps"] == eps)]
        assert line[line["steps"] == 10]["value"].item() == pytest.approx(robust.float().mean().item(), abs=0.051)


def test_a_random_model_is_found(shard, tmp_path):
    generator = torch.Generator().manual_seed(0)

    def random(images):
        return honest(images) + 0.01 * torch.rand(len(images), CLASSES, generator=generator)

    settings = Assess(
        method="tune_bank/advpt", images="all", at_eps=4, eps=[2, 4], steps=[1, 2], autoattack_images=1, queries=1
    )
    assessor = Diagnostics(Toy(random), shard, settings, 0, torch.device("cpu"), Batching(1, 1), 1)
    exact = {line.measure: line.outcomes.sum() for line in assessor.exact(tmp_path)}
    assert exact["logits_differ"] == 40 and exact["outside"] == 0


def change(table, measure, value, **where):
    chosen = table["measure"] == measure
    for column, wanted in where.items():
        chosen &= table[column] == wanted
    assert chosen.any()
    return table.assign(value=table["value"].where(~chosen, value))


@pytest.mark.parametrize(
    ("name", "measure", "values", "where"),
    [
        ("eps 0 changes nothing", "changed_at_eps_0", {0: "pass", 1: "fail"}, {}),
        ("|δ| <= eps in every stored file", "outside", {0: "pass", 1: "fail"}, {}),
        ("images reloaded from disk score the same", "reload_differs", {0: "pass", 1: "fail"}, {}),
        ("gradients are not zero", "zero_gradients", {0.01: "pass", 0.05: "warn", 0.1: "fail"}, {}),
        ("the loss rises along the attack", "loss_rises", {0.96: "pass", 0.9: "warn", 0.7: "fail"}, {}),
        ("Square gains at most a point over gradients", "square_gain", {0.01: "pass", 0.02: "warn", 0.04: "fail"}, {}),
        ("at eps 64 at most 2 % are left", "accuracy", {0.02: "pass", 0.021: "fail"}, {"attack": "pgd", "eps": 64}),
        ("AutoAttack is no weaker than PGD", "autoattack", {0.0: "pass", 1.0: "fail"}, {}),
        ("random noise of eps 4 hardly matters", "accuracy", {1.0: "pass", 0.0: "fail"}, {"attack": "noise", "eps": 4}),
    ],
)
def test_each_check_has_its_bar(shard, tmp_path, name, measure, values, where):
    table = measured(honest, shard, tmp_path)
    for value, expected in values.items():
        status = {check.name: check.status for check in checks_of(change(table, measure, value, **where))}
        assert status[name] == expected, value
