"""The tables of the page: cells, marks, footnotes, means and harmonic means by hand."""

from dataclasses import replace

import pytest
from stages.report.result_tables import (
    footnote,
    harmonic_mean,
    harmonic_metrics,
    harmonic_table,
    overview_table,
    results_table,
)

from tests.report.studies import ADVPT, KNOWING, METHODS, NAMES, PGD, line_of, study_of


@pytest.fixture
def worse(results):
    """Another study, in which everything is 0.1 worse."""
    lines = {key: line._replace(accuracy=line.accuracy - 0.1) for key, line in results.lines.items()}
    return replace(results, title="worse", lines=lines)


def texts(table):
    """The cells of a table by threat and label."""
    return {
        (group.threat.name, label): [cell.text for cell in cells]
        for group in table.groups
        for label, cells in group.rows
    }


def test_a_row_has_every_number_of_its_method(results):
    table = results_table(results, [])
    assert table.columns == [
        "accuracy", "clean accuracy", "95 % interval", "± over seeds", "against hand-written", "against its baseline"
    ]  # fmt: skip
    found = texts(table)
    assert found["pgd_eps8", "hand-written"] == ["30.0", "90.0", "25.0 – 35.0", "one seed", "", ""]
    assert found["pgd_eps8", "AdvPT"] == ["50.0", "70.0", "45.0 – 55.0", "1.0 (3 seeds)", "▲ +20.0", "▲ +19.0"]
    assert found["clean", "AdvPT refreshed"][4:] == ["▼ −5.0", "▲ +15.0"]
    assert found["knowing", "AdvPT"] == ["12.0", "55.0", "7.0 – 17.0", "one seed", "≈ +2.0", "≈ +2.0"]


def test_comparisons_say_in_words_with_which_method_and_why(results):
    (row,) = [cells for label, cells in results_table(results, []).groups[1].rows if label == "AdvPT refreshed"]
    assert [(cell.kind, cell.small, cell.meaning) for cell in row[4:]] == [
        ("noise", "within noise, hand-written", "within noise of hand-written (p = 0.25)"),
        ("noise", "within noise, AdvPT", "within noise of AdvPT (p = 0.25)"),
    ]


def test_the_heading_of_a_threat_says_what_the_attacker_knows(results):
    clean, oblivious, adaptive = (group.heading for group in results_table(results, []).groups)
    assert clean == "the images as they are; n = 100"
    assert oblivious == ("feature pgd, eps 8/255, 40 steps; oblivious: the attacker does not know the method; n = 100")
    assert adaptive.endswith("differentiates through the method under test; n = 30†")


def test_a_subset_is_explained_below_and_has_its_own_clean_accuracy(results):
    assert results_table(results, []).footnote == (
        "† 30 of 100 test images, a class-balanced draw; “clean accuracy” is that on these images without attack, with "
        "the same tuning seeds."
    )
    lines = [line for line in results.lines.values() if line.threat != KNOWING.name]
    equal = results_table(study_of(*lines, threats=results.threats[:2]), [])
    assert equal.footnote == "" and "clean accuracy" not in equal.columns
    other = replace(KNOWING, name="other")
    lines = [line_of(other, method, 0.1, n=20, clean=0.5) for method in METHODS]
    more = study_of(*results.lines.values(), *lines, threats=[*results.threats, other])
    assert footnote(more).startswith("† 20 or 30 of 100 test images")


def test_the_mean_over_the_data_sets_is_last_and_the_best_is_bold(results, worse):
    table = overview_table("All", [results, worse])
    assert table.columns == ["tiny", "worse", "mean"]
    assert texts(table)["clean", "AdvPT"] == ["70.0", "60.0", "65.0"]
    assert [cell.bold for cell in table.groups[0].rows[0][1]] == [True] * 3
    assert [label for label, cells in table.groups[1].rows if cells[0].bold] == ["AdvPT"]


def test_harmonic_means(results, worse):
    assert harmonic_mean(0.8, 0.4) == pytest.approx(8 / 15)
    assert harmonic_mean(0.0, 0.0) == 0 and harmonic_mean(0.0, 1.0) == 0
    metrics = harmonic_metrics({"d": (results, worse)})["d_base_to_new"]
    assert list(metrics) == ["clean", "pgd_eps8", "knowing"] and list(metrics["clean"]) == NAMES
    assert metrics["clean"]["advpt"]["accuracy"] == pytest.approx(2 * 0.7 * 0.6 / 1.3, abs=1e-6)
    assert texts(harmonic_table("d", results, worse))["clean", ADVPT.label] == ["70.0", "60.0", "64.6"]


def test_a_threat_on_a_subset_is_marked_in_tables_without_n(results, worse):
    for table in (overview_table("All", [results, worse]), harmonic_table("d", results, worse)):
        assert [group.heading.endswith(" †") for group in table.groups] == [False, False, True]
        assert table.legend.startswith("† of a class-balanced draw of the test images")
    few = [study_of(*study.lines.values(), threats=[PGD]) for study in (results, worse)]
    assert overview_table("All", few).legend == ""
