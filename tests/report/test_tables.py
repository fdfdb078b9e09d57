"""Tables and metrics, worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from stages.report.tables import accuracy_table, confusion_table, metrics_of, results_of, summary_of, tuning_table
from stages.report.vocabulary import CLEAN, Threat, adaptive_partner, shown_threat
from tests.report.conftest import PROMPTS

NUMBERS = ("accuracy", "n", "low", "high", "std", "seeds", "clean_accuracy")


def by_all(*lines):
    """The same (id, label, prediction) by every prompt."""
    return [(prompt, 0, *line) for prompt in PROMPTS for line in lines]


def test_results_join_each_threat_with_clean(rows, threats):
    """The attacked image is right under attack but was wrong before: not robust."""
    clean = rows("clean", *by_all(("a", 0, 1), ("b", 1, 1)))
    attacked = rows("pgd_eps8", *by_all(("a", 0, 0), ("b", 1, 1)))
    fewer = attacked[attacked["id"] == "a"]
    results = results_of({"tiny": {"clean": clean, "pgd_eps8": attacked, "knowing": fewer}}, threats)
    found = [results["tiny", threat.name, "hand"] for threat in threats]
    assert [line.accuracy for line in found] == [0.5, 0.5, 0.0]
    assert [line.n for line in found] == [2, 2, 1]
    assert [line.knowledge for line in found] == ["clean", "oblivious", "adaptive"]


def test_clean_accuracy_is_that_on_the_same_images_by_the_same_seeds(rows, threats):
    """Of the images a to d the adaptive threat attacks a and b, and of AdvPT the first seed alone."""
    right = {("hand", 0): "acd", ("coop", 0): "abcd", ("advpt", 0): "ab", ("advpt", 1): "", ("advpt_refreshed", 0): "d"}
    lines = [(*whose, id, 0, int(id not in ids)) for whose, ids in right.items() for id in "abcd"]
    few = [line for line in lines if line[2] in "ab" and line[1] == 0]
    by_threat = {"clean": rows("clean", *lines), "pgd_eps8": rows("pgd_eps8", *lines), "knowing": rows("knowing", *few)}
    results = results_of({"tiny": by_threat}, threats)
    found = {
        threat.name: [results["tiny", threat.name, prompt].clean_accuracy for prompt in PROMPTS] for threat in threats
    }
    assert found["clean"] == [results["tiny", "clean", prompt].accuracy for prompt in PROMPTS] == [0.75, 1, 0.25, 0.25]
    assert found["pgd_eps8"] == found["clean"]
    assert found["knowing"] == [0.5, 1, 1, 0]


def test_a_threat_through_a_defence_is_joined_with_clean_through_that_defence(rows):
    """`a` is right clean, wrong through the defence; `b` the other way round. Under attack both are right."""
    right = by_all(("a", 0, 0), ("b", 1, 1))
    by_threat = {
        "clean": rows("clean", *by_all(("a", 0, 0), ("b", 1, 0), ("c", 0, 0))),
        "clean+jpeg75": rows("clean+jpeg75", *by_all(("a", 0, 1), ("b", 1, 1)), defence="jpeg75"),
        "pgd+jpeg75": rows("pgd+jpeg75", *right, *by_all(("c", 0, 0)), defence="jpeg75"),
    }
    threats = [CLEAN, Threat("clean+jpeg75", "clean", {}, "jpeg75")]
    results = results_of({"tiny": by_threat}, threats)
    assert [results["tiny", threat.name, "hand"].accuracy for threat in threats] == [0.666667, 0.5]
    with pytest.raises(ValueError, match="without a clean row"):
        results_of({"tiny": by_threat}, [Threat("pgd+jpeg75", "oblivious", {}, "jpeg75")])
    by_threat["pgd+jpeg75"] = rows("pgd+jpeg75", *right, defence="jpeg75")
    judged = results_of({"tiny": by_threat}, [Threat("pgd+jpeg75", "oblivious", {}, "jpeg75")])
    assert judged["tiny", "pgd+jpeg75", "advpt"].accuracy == 0.5
    assert judged["tiny", "pgd+jpeg75", "advpt"].clean_accuracy == 0.5  # through the defence, where `a` is wrong


def test_results_hold_the_p_of_each_comparison(rows):
    """Of 12 images the hand-written prompt is right on 6, CoOp on none, AdvPT on all, the refreshed one on 1."""
    right = {"hand": 6, "coop": 0, "advpt": 12, "advpt_refreshed": 1}
    lines = [(prompt, 0, f"{i}", 0, int(i >= count)) for prompt, count in right.items() for i in range(12)]
    results = results_of({"tiny": {"clean": rows("clean", *lines)}}, [CLEAN])
    hand, coop, advpt, refreshed = (results["tiny", "clean", prompt][-3:] for prompt in right)
    assert np.isnan([*hand, *coop[1:], advpt[2], refreshed[1]]).all()
    assert coop[0] == advpt[0] == 0.09375  # 3 · 2 · 2⁻⁶, the third and fourth of five
    assert advpt[1] == 0.002441  # 5 · 2 · 2⁻¹²
    line = results["tiny", "clean", "advpt_refreshed"]
    assert (line.p_hand, line.p_advpt) == (0.09375, 0.003906)  # 2 · 2⁻⁵, not less than the one before; 4 · 2 · 2⁻¹¹


def test_metrics_nest_dataset_threat_prompt(results):
    metrics = json.loads(json.dumps(metrics_of(results), allow_nan=False))
    assert metrics["tiny"]["pgd_eps8"]["advpt"]["accuracy"] == 0.5
    assert metrics["tiny"]["pgd_eps8"]["advpt"]["std"] == 0.01
    assert metrics["tiny"]["pgd_eps8"]["hand"]["std"] is None
    assert metrics["tiny"]["pgd_eps8"]["advpt"]["p"] == 0.0001234 and metrics["tiny"]["knowing"]["coop"]["p"] == 0.25
    assert metrics["tiny"]["knowing"]["advpt_refreshed"]["p"] == 0.0001234
    assert set(metrics["tiny"]["clean"]["hand"]) == {*NUMBERS}
    assert set(metrics["tiny"]["clean"]["coop"]) == {*NUMBERS, "p"}
    assert metrics["tiny"]["knowing"]["hand"]["clean_accuracy"] == 0.75


def test_the_summary_has_few_columns(results, threats):
    found = summary_of(results, ["tiny"], threats[:2])
    assert found == {
        "tiny": {
            "clean": {"hand": 0.9, "advpt": 0.7, "advpt_refreshed": 0.85},
            "pgd_eps8": {"hand": 0.3, "advpt": 0.5, "advpt_refreshed": 0.35},
        }
    }


def test_accuracy_table_is_tidy(results):
    table = accuracy_table(results)
    columns = ["dataset", "threat", "knowledge", "prompt", "accuracy", "low", "high", "std", "n", "seeds"]
    columns += ["clean_accuracy"]
    assert table.columns.tolist() == [*columns, "p_hand", "p_coop", "p_advpt"]
    assert len(table) == 12


def test_tuning_is_averaged_over_seeds():
    curves = pd.DataFrame(
        [
            ("tiny", "coop", 0, 1, 2.0, 0.4),
            ("tiny", "coop", 0, 2, 1.0, 0.5),
            ("tiny", "coop", 1, 1, 4.0, 0.6),
            ("tiny", "coop", 1, 2, 1.0, 0.5),
        ],
        columns=["dataset", "prompt", "seed", "epoch", "loss", "accuracy"],
    )
    table = tuning_table(curves)
    assert table["epoch"].tolist() == [1, 2]
    assert table["loss"].tolist() == [3.0, 1.0]
    assert table["accuracy"].tolist() == [0.5, 0.5]
    assert table["loss_std"].tolist() == [pytest.approx(2**0.5, abs=1e-6), 0.0]


def test_confusion_counts_images_per_seed(rows):
    """Two seeds: one takes both images of class 0 rightly, the other one of them for class 1."""
    table = confusion_table(
        rows("pgd", *[("coop", seed, id, 0, int(seed == 1 and id == "b")) for seed in (0, 1) for id in "ab"]),
        ["zero", "one"],
    )
    assert table[["actual", "predicted", "count"]].to_numpy().tolist() == [["zero", "zero", 1.5], ["zero", "one", 0.5]]


def threat(name, method, eps, knowledge="oblivious", defence="none"):
    return Threat(name, knowledge, {"method": method, "eps": eps, "steps": 1}, defence)


def test_shown_threat_is_the_one_most_like_the_bank():
    pgd4, pgd16, transfer = threat("a", "feature_pgd", 4), threat("b", "feature_pgd", 16), threat("c", "transfer", 8)
    knowing = threat("d", "pgd", 8, "adaptive")
    assert shown_threat([CLEAN, pgd16, transfer, pgd4, knowing], 8) is pgd4
    assert shown_threat([CLEAN, pgd16, transfer, pgd4], 12) is pgd16
    assert shown_threat([CLEAN, transfer], 2) is transfer
    assert shown_threat([CLEAN, knowing], 8) is CLEAN
    assert shown_threat([CLEAN, threat("a", "feature_pgd", 8, defence="jpeg75"), transfer], 8) is transfer


def test_adaptive_partner_has_the_same_eps():
    knowing = threat("d", "pgd", 8, "adaptive")
    assert adaptive_partner([CLEAN, threat("c", "transfer", 8), knowing], 8) is knowing
    assert adaptive_partner([CLEAN, knowing], 4) is None


def test_adaptive_partner_is_crafted_through_the_same_defence():
    plain, through = threat("a", "pgd", 8, "adaptive"), threat("b", "pgd", 8, "adaptive", "jpeg75")
    assert adaptive_partner([plain, through], 8) is plain
    assert adaptive_partner([plain, through], 8, "jpeg75") is through
    assert adaptive_partner([plain, through], 8, "tv") is None


@pytest.mark.parametrize(
    ("attack", "defence", "recipe"),
    [
        ({}, "none", "the images as they are"),
        ({}, "jpeg75", "the images as they are, through jpeg75"),
        ({"method": "feature_pgd", "eps": 4.0, "steps": 40}, "none", "feature pgd, eps 4/255, 40 steps"),
        ({"method": "square", "eps": 0.5, "queries": 500}, "tv", "square, eps 0.5/255, 500 queries, through tv"),
        ({"method": "autoattack", "version": "fast", "eps": 4}, "none", "autoattack fast, eps 4/255"),
    ],
)
def test_recipes_in_a_few_words(attack, defence, recipe):
    assert Threat("any", "oblivious", attack, defence).recipe == recipe
