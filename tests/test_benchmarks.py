"""The benchmarks measure what they say: turns alternate, work is counted, fast and slow ways do the same job."""

import pytest
import torch

from reports.studies.benchmarks import images, measuring, text_tower, tuning
from tests.models.random_models import KINDS, random_model

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


def test_numbers_are_shown_with_three_digits():
    assert [measuring.shown(v) for v in (None, 12, 0.12345, 12.345, 1234.5)] == ["-", "12", "0.123", "12.3", "1234"]
