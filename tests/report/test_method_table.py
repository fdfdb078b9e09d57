"""The main table: its rows, their order, the numbers in them; tables of several studies."""

from dataclasses import replace

import pandas as pd
import pytest

from stages.report.method_table import method_tables
from stages.report.overview import harmonic, harmonic_metrics, overview
from stages.report.vocabulary import CLEAN, Threat
from stages.report.wording import clean_on_the_same, footnote, marked, price, signed, size
from tests.report.studies import ADVPT, COOP, KNOWING, METHODS, NAMES, PGD, REFRESHED, ZERO_SHOT, line_of, study_of
from tests.report.test_classes import COLUMNS

NO_CLASSES = pd.DataFrame(columns=COLUMNS)
TRANSFER = Threat("transfer", "oblivious", {"method": "transfer", "eps": 8.0})
SMALL = Threat("small", "oblivious", {"method": "feature_pgd", "eps": 4.0})
SQUARE = Threat("square", "adaptive", {"method": "square", "eps": 8.0})
WORST = Threat("worst_eps8", "adaptive", {"method": "pointwise_worst", "eps": 8.0, "of": ["pgd_eps8", "knowing"]})


def test_rows_are_sorted_by_what_the_adaptive_attack_leaves(results):
    (table,) = method_tables(results, NO_CLASSES)
    assert table.eps == 8 and [row.method for row in table.rows] == [REFRESHED, ADVPT, ZERO_SHOT, COOP]
    assert [row.adaptive.accuracy for row in table.rows] == [0.2, 0.12, 0.1, 0.1]
    assert [table.sizes(column) for column in ("clean", "oblivious", "adaptive")] == ["100", "100", "30†"]


def test_methods_without_an_adaptive_number_are_last(results):
    lines = {key: line for key, line in results.lines.items() if key != ("knowing", "refreshed")}
    (table,) = method_tables(replace(results, lines=lines), NO_CLASSES)
    assert [row.method for row in table.rows][-1] is REFRESHED and table.rows[-1].gap is None


def test_each_eps_has_a_table_and_one_without_adaptive_threats_no_gap(results):
    lines = [line_of(SMALL, method, 0.6) for method in METHODS]
    study = study_of(*results.lines.values(), *lines, threats=[CLEAN, PGD, SMALL, KNOWING])
    four, eight = method_tables(study, NO_CLASSES)
    assert (four.eps, eight.eps) == (4, 8) and four.threats("oblivious") == ["small"]
    assert [row.method for row in four.rows] == METHODS and {row.gap for row in four.rows} == {None}
    assert four.sizes("adaptive") == "" and four.threats("adaptive") == []
    (clean,) = method_tables(replace(results, threats=[CLEAN]), NO_CLASSES)
    assert clean.eps == 0 and clean.rows[0].oblivious is clean.rows[0].adaptive is None


def test_of_several_threats_the_strongest_counts_and_a_pointwise_worst_always(results):
    """The worst attacks fewer images, on which a single threat may leave less."""
    lines = [line_of(TRANSFER, method, 0.25 if method is ADVPT else 0.9) for method in METHODS]
    lines += [line_of(SQUARE, method, 0.01) for method in METHODS] + [
        line_of(WORST, method, 0.05) for method in METHODS
    ]
    study = study_of(*results.lines.values(), *lines, threats=[CLEAN, PGD, TRANSFER, KNOWING, SQUARE, WORST])
    (table,) = method_tables(study, NO_CLASSES)
    found = {row.method: (row.oblivious.threat, row.adaptive.threat) for row in table.rows}
    assert found[ADVPT] == ("transfer", "worst_eps8") and found[COOP] == ("pgd_eps8", "worst_eps8")
    assert table.threats("adaptive") == ["knowing", "square"]


def test_the_gap_is_on_the_same_images(results):
    lines = {key: line._replace(oblivious_accuracy=0.35) for key, line in results.lines.items()}
    (table,) = method_tables(replace(results, lines=lines), NO_CLASSES)
    assert [row.gap for row in table.rows] == pytest.approx([0.15, 0.23, 0.25, 0.25])


def test_a_number_has_its_spread_its_marks_and_the_clean_accuracy_of_its_images(results):
    def written(threat, method):
        line = results.line(threat, method)
        return marked(results, line), size(results, line), clean_on_the_same(results, line)

    assert written(CLEAN, ZERO_SHOT) == ("90.0", "100", "")
    assert written(PGD, ADVPT) == ("50.0 ± 1.0", "100", "") and written(PGD, COOP) == ("31.0 ± 1.0°", "100", "")
    assert written(KNOWING, ADVPT) == ("12.0°", "30†", "clean 55.0")
    assert footnote(results) == "†: 30 of 100 test images, a class-balanced draw; clean: the same images."
    assert footnote(study_of(*(line for line in results.lines.values() if line.n == 100))) == ""


def test_the_price_names_the_classes_that_lose_most():
    """Losses of less than 25 points, of other methods and under attack have no part in it."""
    lines = [("tiny", "clean", f"&lt;{at}&gt;", "advpt", 9, 0.5, -0.05 * at) for at in range(4, 11)]
    lines += [("tiny", "clean", "other", "coop", 9, 0.1, -0.9), ("tiny", "pgd", "attacked", "advpt", 9, 0.1, -0.9)]
    table = pd.DataFrame(lines, columns=COLUMNS)
    assert price(table, ADVPT) == "<10> 100.0 → 50.0, <9> 95.0 → 50.0, <8> 90.0 → 50.0, <7> 85.0 → 50.0 and 2 more"
    assert price(table, ZERO_SHOT) == ""


def test_points_have_a_sign():
    assert [signed(0.0104), signed(-0.0026), signed(-0.126, digits=0)] == ["+1.0", "−0.3", "−13"]


@pytest.fixture
def worse(results):
    """Another study, in which everything is 0.1 worse."""
    lines = {key: line._replace(accuracy=line.accuracy - 0.1) for key, line in results.lines.items()}
    return replace(results, title="worse", lines=lines)


def test_the_mean_over_the_data_sets_is_last_and_the_best_is_marked(results, worse):
    found = overview("All", [results, worse])
    assert list(found.accuracies) == ["tiny", "worse", "mean"]
    assert dict(found.rows(CLEAN))["AdvPT"] == [("70.0", False), ("60.0", False), ("65.0", False)]
    assert [label for label, cells in found.rows(PGD) if cells[0][1]] == ["AdvPT"]
    assert [found.mark(threat) for threat in (CLEAN, PGD, KNOWING)] == ["", "", "†"]


def test_harmonic_means(results, worse):
    found = harmonic("d", results, worse)
    assert dict(found.rows(CLEAN))["AdvPT"][:3] == [("70.0", False), ("60.0", False), ("64.6", False)]
    metrics = harmonic_metrics({"d": found})["d_base_to_new"]
    assert list(metrics) == ["clean", "pgd_eps8", "knowing"] and list(metrics["clean"]) == NAMES
    assert metrics["clean"]["advpt"]["accuracy"] == pytest.approx(2 * 0.7 * 0.6 / 1.3, abs=1e-6)
    assert metrics["knowing"]["coop"]["accuracy"] == 0  # of 0.1 and 0
