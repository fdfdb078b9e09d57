"""The benchmarks measure what they say: turns alternate, work is counted, fast and slow ways do the same job."""

import numpy as np
import pytest
import torch

from reports.studies.benchmarks import growth, images, measuring, reruns, suite, text_tower, tuning
from stages.runtime.params import Suite
from tests.imports import ROOT
from tests.models.random_models import KINDS, random_model
from tests.victims import random_victim

CPU = torch.device("cpu")


def test_turns_alternate_and_the_first_one_does_not_count(monkeypatch):
    turns, seconds = [], iter([100.0, 100.0, 1.0, 10.0, 3.0, 30.0, 2.0, 20.0])
    monkeypatch.setattr(measuring, "timed", lambda way, device: way() or next(seconds))
    ways = {"fast": lambda: turns.append("fast"), "slow": lambda: turns.append("slow")}
    assert measuring.medians(ways, rounds=3, device=CPU) == {"fast": 2.0, "slow": 20.0}
    assert turns == ["fast", "slow"] * 4


def test_work_of_a_product_by_hand():
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    assert measuring.flops(lambda: left @ right) == 2 * 3 * 5 * 7


def test_a_line_of_the_text_tower():
    clip = random_model(KINDS["vit_b_32"][0]).requires_grad_(False)
    row = text_tower.measured(clip, 3, 4, 1e9, CPU)
    assert row["ratio"] == row["padded s"] / row["packed s"] and row["share of peak"] > 0


def test_a_line_of_adversarial_tuning():
    row = tuning.measured("local-dir:data/embedded/tiny-clip", CPU, 4)
    assert row["fp32 ratio"] == pytest.approx(row["fp32 images/s"] / row["reference images/s"], rel=1e-9)
    assert row["fp32 ratio"] > 0 < row["bf16 ratio"]


def test_a_line_of_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "SHARD", 4)
    row = images.reading(tmp_path, CPU)
    assert row["images"] == 8 and row["images/s"] > 0


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_exponent_of_growth_does_not_see_fixed_cost(power):
    counts = (1_000, 4_000, 16_000, 64_000)
    assert growth.exponent(counts, [7 + count**power for count in counts]) == pytest.approx(power)
    assert growth.exponent(counts, [7, 7.01, 7.02, 7.0]) is None


def test_memory_of_a_stage_is_its_own():
    """Not that of the process which starts it; a stage that fails is not measured."""
    ballast = np.ones(2**26)  # 512 MB
    used = growth.used_by(ROOT, "evaluate", "--help")
    assert used.seconds > 0 and 10 < used.megabytes < ballast.nbytes / 2**20 / 2
    with pytest.raises(RuntimeError, match="nowhere"):
        growth.used_by(ROOT, "zero_shot", "nowhere", "all", "zero_shot")


def test_gradients_of_the_suite_and_of_its_attacks_one_by_one(clip, shard):
    """Both fool the same images, and nobody that was fooled is attacked on."""
    settings = Suite(method="suite", eps=2, steps=4, restarts=2, targets=1, images="all", tuning_seeds=1)
    victim = random_victim(clip)
    victim.class_names = ["a", "b", "c"]
    row = suite.measured(victim, shard, settings, 0)
    candidates = 2
    assert row["gradients one by one"] == len(shard) * (2 * 3 * settings.steps + candidates)
    assert row["gradients of the suite"] < row["gradients one by one"] and row["images with another outcome"] == 0
    assert row["accuracy under the suite"] == row["accuracy one by one"]


@pytest.mark.reliability
def test_what_runs_again_after_an_addition(tmp_path):
    row = reruns.reruns(tmp_path, {"methods": 2, "oblivious": 1, "adaptive": 1})
    after = {"method": 6, "oblivious threat": 5, "adaptive threat": 4}
    assert row == {"stages": 15, "again": 0, **{f"after 1 more {name}": count for name, count in after.items()}}


def test_numbers_are_shown_with_three_digits():
    assert [measuring.shown(v) for v in (None, 12, 0.12345, 12.345, 1234.5)] == ["-", "12", "0.123", "12.3", "1234"]
