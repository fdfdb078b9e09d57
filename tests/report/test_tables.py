"""Tables and metrics, worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from stages.report.tables import (
    accuracy_table,
    confusion_table,
    metrics_of,
    results_from,
    results_of,
    summary_of,
    tuning_table,
)
from stages.report.vocabulary import CLEAN, Method, Threat, adaptive_partner, headline_threat, reference_of
from tests.report.studies import ADVPT, COOP, METHODS, NAMES, REFRESHED, THREATS, ZERO_SHOT, many_methods

NUMBERS = ("accuracy", "n", "low", "high", "std", "seeds", "clean_accuracy")


def by_all(*lines):
    """The same (id, label, prediction) for every method."""
    return [(method, 0, *line) for method in NAMES for line in lines]


def test_results_join_each_threat_with_clean(rows):
    """The attacked image is correct under attack but was wrong before: not robust."""
    clean = rows("clean", *by_all(("a", 0, 1), ("b", 1, 1)))
    attacked = rows("pgd_eps8", *by_all(("a", 0, 0), ("b", 1, 1)))
    predictions = {"clean": clean, "pgd_eps8": attacked, "knowing": attacked[attacked["id"] == "a"]}
    results = results_of("tiny", predictions, METHODS, THREATS)
    found = [results.line(threat, ZERO_SHOT) for threat in THREATS]
    assert [line.accuracy for line in found] == [0.5, 0.5, 0.0]
    assert [line.n for line in found] == [2, 2, 1]
    assert [line.knowledge for line in found] == ["clean", "oblivious", "adaptive"]


def test_clean_accuracy_is_that_on_the_same_images_with_the_same_seeds(rows):
    """Of the images a to d the adaptive threat attacks a and b, and of AdvPT the first seed alone."""
    right = {("zero_shot", 0): "acd", ("coop", 0): "abcd", ("advpt", 0): "ab", ("advpt", 1): "", ("refreshed", 0): "d"}
    lines = [(*whose, id, 0, int(id not in ids)) for whose, ids in right.items() for id in "abcd"]
    few = [line for line in lines if line[2] in "ab" and line[1] == 0]
    predictions = {"clean": rows("clean", *lines), "pgd_eps8": rows("pgd_eps8", *lines)}
    results = results_of("tiny", predictions | {"knowing": rows("knowing", *few)}, METHODS, THREATS)
    clean = [[line.clean_accuracy for line in results.of_threat(threat)] for threat in THREATS]
    assert clean[0] == clean[1] == [line.accuracy for line in results.of_threat(CLEAN)] == [0.75, 1, 0.25, 0.25]
    assert clean[2] == [0.5, 1, 1, 0]


def test_oblivious_accuracy_is_the_lowest_on_the_images_and_seeds_of_the_adaptive_threat(rows):
    """Of the images a to d the adaptive threat attacks a and b, of one seed; the other oblivious threat has its eps."""
    other, small = (Threat(name, "oblivious", {"method": "pgd", "eps": eps}) for name, eps in (("other", 8), ("s", 4)))
    right = {"clean": "abcd", "pgd_eps8": "a", "other": "cd", "s": "", "knowing": ""}
    lines = {
        name: [(method, seed, id, 0, int(id not in ids)) for method in NAMES for seed in (0, 1) for id in "abcd"]
        for name, ids in right.items()
    }
    lines["knowing"] = [line for line in lines["knowing"] if line[1] == 0 and line[2] in "ab"]
    threats = [CLEAN, THREATS[1], other, small, THREATS[2]]
    results = results_of("tiny", {name: rows(name, *some) for name, some in lines.items()}, METHODS, threats)
    assert {line.oblivious_accuracy for line in results.of_threat(THREATS[2])} == {0.0}
    without = results_of(
        "tiny", {name: rows(name, *some) for name, some in lines.items()}, METHODS, [CLEAN, *THREATS[1:]]
    )
    assert {line.oblivious_accuracy for line in without.of_threat(THREATS[2])} == {0.5}
    assert np.isnan([line.oblivious_accuracy for line in without.of_threat(THREATS[1])]).all()


def test_results_come_back_from_their_table(results):
    again = results_from(accuracy_table([replace(results, title="x"), results]), "tiny", METHODS, THREATS)
    assert str(again.lines) == str(results.lines)


def test_results_hold_the_p_of_each_comparison(rows):
    """Of 12 images the reference is correct on 6, CoOp on none, AdvPT on all, the refreshed one on 1."""
    right = {"zero_shot": 6, "coop": 0, "advpt": 12, "refreshed": 1}
    lines = [(method, 0, f"{i}", 0, int(i >= count)) for method, count in right.items() for i in range(12)]
    results = results_of("tiny", {"clean": rows("clean", *lines)}, METHODS, [CLEAN])
    reference, coop, advpt, refreshed = ((line.p_reference, line.p_baseline) for line in results.of_threat(CLEAN))
    assert np.isnan([*reference, coop[1]]).all()
    assert coop[0] == advpt[0] == 0.09375  # 3 · 2 · 2⁻⁶, the third and fourth of five
    assert advpt[1] == 0.002441  # 5 · 2 · 2⁻¹²
    assert refreshed == (0.09375, 0.003906)  # 2 · 2⁻⁵, not less than the one before; 4 · 2 · 2⁻¹¹


def test_a_baseline_that_is_the_reference_or_missing_is_no_second_comparison(rows):
    """The family is then two comparisons with the reference, not four."""
    methods = [ZERO_SHOT, Method("a", "A", "zero_shot", "tune_clean"), Method("b", "B", "gone", "tune_clean")]
    right = {"zero_shot": 0, "a": 6, "b": 6}
    lines = [(method, 0, f"{i}", 0, int(i >= count)) for method, count in right.items() for i in range(12)]
    _, a, b = results_of("tiny", {"clean": rows("clean", *lines)}, methods, [CLEAN]).of_threat(CLEAN)
    assert a.p_reference == b.p_reference == 2 * 2 * 2**-6
    assert np.isnan([a.p_baseline, b.p_baseline]).all()


def test_the_reference_is_the_first_of_its_group_wherever_it_is():
    other = Method("ensemble", "80 templates", None, "zero_shot")
    assert reference_of([COOP, ZERO_SHOT, other]) == ZERO_SHOT


def test_a_study_of_one_method_has_nothing_to_compare(rows):
    results = results_of("tiny", {"clean": rows("clean", ("zero_shot", 0, "a", 0, 0))}, [ZERO_SHOT], [CLEAN])
    assert results.line(CLEAN, ZERO_SHOT).accuracy == 1


def test_metrics_nest_dataset_threat_method(results):
    metrics = json.loads(json.dumps(metrics_of([results]), allow_nan=False))["tiny"]
    assert metrics["pgd_eps8"]["advpt"]["accuracy"] == 0.5
    assert metrics["pgd_eps8"]["advpt"]["std"] == 0.01
    assert metrics["pgd_eps8"]["zero_shot"]["std"] is None
    assert metrics["pgd_eps8"]["advpt"]["p"] == 0.0001234 and metrics["knowing"]["coop"]["p"] == 0.25
    assert set(metrics["clean"]["zero_shot"]) == {*NUMBERS}
    assert set(metrics["clean"]["coop"]) == {*NUMBERS, "p"}
    assert metrics["knowing"]["zero_shot"]["clean_accuracy"] == 0.75
    summary = summary_of([results])["tiny"]
    assert list(summary) == ["clean", "pgd_eps8", "knowing"]
    assert summary["clean"] == {"zero_shot": 0.9, "coop": 0.9, "advpt": 0.7, "refreshed": 0.85}


def test_tuning_is_averaged_over_seeds():
    lines = [("tiny", "coop", 0, 1, 2.0, 0.4), ("tiny", "coop", 0, 2, 1.0, 0.5)]
    lines += [("tiny", "coop", 1, 1, 4.0, 0.6), ("tiny", "coop", 1, 2, 1.0, 0.5)]
    curves = pd.DataFrame(lines, columns=["dataset", "method", "seed", "epoch", "loss", "accuracy"])
    first, second = tuning_table(curves).itertuples(index=False)
    assert (first.loss, first.accuracy, first.loss_std, first.accuracy_std) == (3.0, 0.5, 1.414214, 0.141421)
    assert (second.loss, second.loss_std) == (1.0, 0.0)


def test_confusion_counts_are_means_over_seeds_in_the_order_of_the_methods(rows):
    lines = [("zero_shot", 0, "a", 0, 1), ("zero_shot", 0, "b", 1, 1)]
    lines += [("advpt", seed, "a", 0, seed) for seed in (0, 1)]
    table = confusion_table(rows("pgd", *lines), ["x", "y"])
    assert table[["method", "actual", "predicted", "count"]].to_numpy().tolist() == [
        ["zero_shot", "x", "y", 1], ["zero_shot", "y", "y", 1], ["advpt", "x", "x", 0.5], ["advpt", "x", "y", 0.5],
    ]  # fmt: skip


def threat(name, method, eps, knowledge="oblivious"):
    return Threat(name, knowledge, {"method": method, "eps": eps})


def test_the_headline_threat_is_the_one_most_like_the_bank():
    pgd4, pgd16, transfer = threat("a", "feature_pgd", 4), threat("b", "feature_pgd", 16), threat("c", "transfer", 8)
    knowing = threat("d", "pgd", 8, "adaptive")
    assert headline_threat([CLEAN, pgd16, transfer, pgd4, knowing], 8) is pgd4
    assert headline_threat([CLEAN, pgd16, transfer, pgd4], 12) is pgd16
    assert headline_threat([CLEAN, transfer], 2) is transfer
    assert headline_threat([CLEAN, knowing], 8) is CLEAN


def test_adaptive_partner_has_the_same_eps():
    knowing = threat("d", "pgd", 8, "adaptive")
    assert adaptive_partner([CLEAN, threat("c", "transfer", 8), knowing], 8) is knowing
    assert adaptive_partner([CLEAN, knowing], 4) is None


def test_seventy_methods_look_different():
    from stages.report.style import looks_of

    looks = looks_of(many_methods(70))
    assert len({(look.colour, look.marker) for look in looks.values()}) == 70
    assert [looks_of(METHODS)[one.name].line for one in (COOP, ADVPT, REFRESHED)] == ["--", "-", "-."]
