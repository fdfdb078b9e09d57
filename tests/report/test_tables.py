"""Tables and metrics, worked out by hand."""

import json

import pandas as pd
import pytest

from stages.report.tables import accuracy_table, confusion_table, metrics_of, results_of, tuning_table
from stages.report.vocabulary import CLEAN, Threat, adaptive_partner, shown_threat


def test_results_join_each_threat_with_clean(rows, threats):
    """The attacked image is right under attack but was wrong before: not robust."""
    clean = rows("clean", ("hand", 0, "a", 0, 1), ("hand", 0, "b", 1, 1))
    attacked = rows("pgd_eps8", ("hand", 0, "a", 0, 0), ("hand", 0, "b", 1, 1))
    results = results_of({"tiny": {"clean": clean, "pgd_eps8": attacked, "knowing": attacked[:1]}}, threats)
    assert [line.accuracy for line in results.values()] == [0.5, 0.5, 0.0]
    assert [line.n for line in results.values()] == [2, 2, 1]
    assert [line.knowledge for line in results.values()] == ["clean", "oblivious", "adaptive"]


def test_metrics_nest_dataset_threat_prompt(results):
    metrics = json.loads(json.dumps(metrics_of(results), allow_nan=False))
    assert metrics["tiny"]["pgd_eps8"]["advpt"]["accuracy"] == 0.5
    assert metrics["tiny"]["pgd_eps8"]["advpt"]["std"] == 0.01
    assert metrics["tiny"]["pgd_eps8"]["hand"]["std"] is None
    assert set(metrics["tiny"]["clean"]["hand"]) == {"accuracy", "n", "low", "high", "std", "seeds"}


def test_accuracy_table_is_tidy(results):
    table = accuracy_table(results)
    columns = ["dataset", "threat", "knowledge", "prompt", "accuracy", "low", "high", "std", "n", "seeds"]
    assert table.columns.tolist() == columns
    assert len(table) == 9


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


def threat(name, method, eps, knowledge="oblivious"):
    return Threat(name, knowledge, {"method": method, "eps": eps, "steps": 1})


def test_shown_threat_is_the_one_most_like_the_bank():
    pgd4, pgd16, transfer = threat("a", "feature_pgd", 4), threat("b", "feature_pgd", 16), threat("c", "transfer", 8)
    knowing = threat("d", "pgd", 8, "adaptive")
    assert shown_threat([CLEAN, pgd16, transfer, pgd4, knowing], 8) is pgd4
    assert shown_threat([CLEAN, pgd16, transfer, pgd4], 12) is pgd16
    assert shown_threat([CLEAN, transfer], 2) is transfer
    assert shown_threat([CLEAN, knowing], 8) is CLEAN


def test_adaptive_partner_has_the_same_eps():
    knowing = threat("d", "pgd", 8, "adaptive")
    assert adaptive_partner([CLEAN, threat("c", "transfer", 8), knowing], 8) is knowing
    assert adaptive_partner([CLEAN, knowing], 4) is None
