"""What stages cost, counted by hand."""

import re

import pandas as pd
import pytest

from stages.report.costs import Cost, Sizes, autoattack_gradients, costs_list, costs_of, costs_table, refreshing
from stages.report.vocabulary import CLEAN, Threat

PGD = Threat("pgd", "oblivious", {"method": "feature_pgd", "eps": 8, "steps": 40, "restarts": 1})
RESTARTED = Threat("restarted", "oblivious", {"method": "feature_pgd", "eps": 8, "steps": 20, "restarts": 2})
RAP = {"eps": 16, "steps": 8, "from_step": 100}
SMALL, LARGE = {"name": "small_cnn", "epochs": 10}, {"name": "torchvision:resnet50", "epochs": 90}
TRANSFER = Threat(
    "transfer", "oblivious", {"method": "transfer", "eps": 8, "steps": 20, "reverse": None, "surrogate": SMALL}
)
REVERSE = Threat("rap", "oblivious", {"method": "transfer", "eps": 8, "steps": 400, "reverse": RAP, "surrogate": LARGE})
KNOWING = Threat("knowing", "adaptive", {"method": "pgd", "eps": 8, "steps": 40, "restarts": 2, "samples": 3})
SUITE = Threat("suite", "adaptive", {"method": "suite", "eps": 8, "steps": 20, "restarts": 2, "targets": 3})
AUTO = Threat("auto", "adaptive", {"method": "autoattack", "version": "fast", "eps": 4})
SQUARE = Threat("square", "adaptive", {"method": "square", "queries": 500, "eps": 4})
REFRESHED = {
    "refresh": {"start": "hand", "rounds": 4, "steps": 5},
    "tune": {"tuning_seeds": 3, "epochs": 50, "batch_size": 1500},
}
MEASURED = pd.DataFrame(
    [
        ("accuracy", "noise", 4, 0, 0.5, 10),
        ("accuracy", "pgd", 4, 5, 0.5, 10),
        ("accuracy", "margin", 4, 7, 0.5, 10),
        ("loss_rises", "pgd", 4, 3, 1.0, 10),
        ("zero_gradients", "pgd", 4, 1, 0.0, 10),
        ("autoattack", "autoattack", 4, 100, 0.4, 2),
        ("square_gain", "square", 4, 500, 0.0, 10),
    ],
    columns=["measure", "attack", "eps", "steps", "value", "n"],
)


@pytest.fixture
def costs():
    """2,000 training and 1,000 test images of 10 classes; two of three batches of 1,500 are whole."""
    sizes = Sizes(2000, 1000, 10, {"knowing": 900, "auto": 30, "square": 20, "suite": 50})
    tune = {"tuning_seeds": 3, "epochs": 100, "batch_size": 1500}
    bank = {"steps": 10, "restarts": 1}
    threats = [CLEAN, PGD, TRANSFER, REVERSE, KNOWING, AUTO, SQUARE, RESTARTED, SUITE]
    return {cost.stage: cost for cost in costs_of("tiny", sizes, bank, tune, REFRESHED, threats, MEASURED)}


def test_costs_by_hand(costs):
    assert costs["extract"] == Cost("tiny", "extract", passes=3000)
    assert costs["craft"] == Cost("tiny", "craft", gradients=20000, passes=2000)
    assert costs["tune"].text_steps == costs["tune-clean"].text_steps == 3 * 100 * 2
    assert costs["refresh"] == Cost("tiny", "refresh", 2000 * 10 * 5, 2000 * 10, text_steps=4 * 3 * 50 * 2)
    assert costs["craft-test pgd"] == Cost("tiny", "craft-test pgd", gradients=40000, passes=2000)
    assert costs["craft-test restarted"] == Cost("tiny", "craft-test restarted", gradients=40000, passes=4000)
    assert costs["adapt suite"] == Cost("tiny", "adapt suite", gradients=50 * (2 * 20 * 4 + 9), at_most=True)
    assert costs["craft-test transfer"].passes == costs["craft-test rap"].passes == 1000
    assert costs["craft-test transfer"].surrogate == 1000 * 20 + 2000 * 10
    assert costs["craft-test rap"].surrogate == 1000 * (400 + 8 * 300) + 2000
    assert costs["adapt knowing"] == Cost("tiny", "adapt knowing", gradients=900 * 40 * 6, at_most=True)
    assert costs["adapt auto"].gradients == 30 * 1000
    assert costs["adapt square"] == Cost("tiny", "adapt square", passes=20 * 500, at_most=True)
    assert costs["assess"] == Cost(
        "tiny", "assess", gradients=150 + 2 * (1000 + 2 * 32 * 4 + 9), passes=5000, at_most=True
    )
    assert "defend" not in costs


def test_defences_take_passes_of_clean_and_attacked_images():
    defended = [
        Threat(f"{name}+jpeg75", kind, {}, "jpeg75") for name, kind in (("clean", "clean"), ("pgd", "oblivious"))
    ]
    tune = {"tuning_seeds": 1, "epochs": 1, "batch_size": 1}
    sizes, threats = Sizes(1, 10, 10, {}), [CLEAN, *defended, PGD]
    found = costs_of("tiny", sizes, {"steps": 1, "restarts": 1}, tune, REFRESHED, threats, MEASURED)
    assert [cost.passes for cost in found if cost.stage == "defend"] == [20]


@pytest.mark.parametrize(("start", "attacks"), [("hand", 1 + 3 * 3), ("advpt", 4 * 3)])
def test_every_round_attacks_through_every_seed_but_the_first_where_all_begin_with_one_prompt(start, attacks):
    """Four rounds, three seeds, 100 images in one batch, 50 epochs."""
    cost = refreshing("tiny", {**REFRESHED["refresh"], "start": start}, REFRESHED["tune"], 100)
    passes = 100 * attacks
    assert cost == Cost("tiny", "refresh", gradients=5 * passes, passes=passes, text_steps=4 * 3 * 50)


@pytest.mark.parametrize(
    ("version", "classes", "count"),
    [
        ("fast", 10, 1000),
        ("fast", 1000, 1000),
        ("fast", 4, 400),
        ("fast", 3, 100),
        ("standard", 10, 1900),
        ("standard", 3, 300),
    ],
)
def test_autoattack_aims_at_nine_classes_at_most(version, classes, count):
    assert autoattack_gradients(version, classes) == count


def test_the_list_says_what_is_a_bound_and_leaves_zeros_out():
    html = costs_list(
        costs_table([Cost("<tiny>", "craft", gradients=20000), Cost("a", "adapt", gradients=9, at_most=True)])
    )
    first, second = (re.findall("<td>(.*?)</td>", row) for row in html.split("<tr>")[2:])
    assert first == ["&lt;tiny&gt;", "20,000", "", "", ""] and second == ["a", "≤ 9", "", "", ""]
