"""The tables over several studies: means and harmonic means by hand."""

import re

import pytest

from stages.report.harmonic import harmonic_mean, harmonic_metrics, harmonic_table
from stages.report.overview import overview_table

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def two(results):
    """The study `tiny` beside one in which everything is 0.2 worse."""
    worse = {
        (HOSTILE, *key[1:]): line._replace(dataset=HOSTILE, accuracy=line.accuracy - 0.1)
        for key, line in results.items()
    }
    return {**results, **worse}


def cells(html):
    return [
        re.findall(r"<td>(?:<b>)?([\d.]+)(?:</b>)?</td>", row) for row in html.split("<tr>") if 'scope="row"' in row
    ]


def test_the_mean_over_the_data_sets_stands_last_and_the_best_is_bold(two, threats):
    html = overview_table(two, "All", ["tiny", HOSTILE], threats)
    hand, coop, advpt, refreshed, *attacked = cells(html)
    assert (hand, coop, advpt) == (["90.0", "80.0", "85.0"], ["90.0", "80.0", "85.0"], ["70.0", "60.0", "65.0"])
    assert refreshed == ["85.0", "75.0", "80.0"] and len(attacked) == 8
    assert html.count("<b>85.0</b>") == 2 and "<b>65.0</b>" not in html
    assert HOSTILE not in html and "&lt;script&gt;" in html


def test_harmonic_means(two, threats):
    assert harmonic_mean(0.8, 0.4) == pytest.approx(8 / 15)
    assert harmonic_mean(0.0, 0.0) == 0 and harmonic_mean(0.0, 1.0) == 0
    metrics = harmonic_metrics(two, [("d", "tiny", HOSTILE)])
    assert list(metrics) == ["d_base_to_new"] and set(metrics["d_base_to_new"]) == {t.name for t in threats}
    assert metrics["d_base_to_new"]["clean"]["advpt"]["accuracy"] == pytest.approx(2 * 0.7 * 0.6 / 1.3, abs=1e-6)
    html = harmonic_table(two, "d", "tiny", HOSTILE, threats)
    assert cells(html)[2:4] == [["70.0", "60.0", "64.6"], ["85.0", "75.0", "79.7"]]


def test_a_threat_on_a_subset_is_marked_in_tables_that_show_no_n(two, threats):
    for html in (
        overview_table(two, "All", ["tiny", HOSTILE], threats),
        harmonic_table(two, "d", "tiny", HOSTILE, threats),
    ):
        assert re.findall(r'<th scope="row">([\w]+)†</th>', html) == ["knowing"]
        assert html.count("† of a class-balanced draw of the test images; n and clean accuracy stand in the table") == 1
    equal = {key: line for key, line in two.items() if key[1] != "knowing"}
    assert "†" not in overview_table(equal, "All", ["tiny", HOSTILE], threats[:2])
    assert "†" not in harmonic_table(equal, "d", "tiny", HOSTILE, threats[:2])
