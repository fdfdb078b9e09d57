"""Gains and losses by class: tables by hand, and which of many classes are drawn."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.report.classes import classes_table, extremes, prices, worst_class
from stages.report.classes_figure import chosen, classes_figure, draw
from stages.report.vocabulary import CLEAN
from tests.report.conftest import PGD

GAINS = ["gain_coop", "gain_advpt", "gain_advpt_refreshed"]
COLUMNS = ["dataset", "threat", "class", "n", "hand", "coop", "advpt", "advpt_refreshed", *GAINS]


@pytest.fixture
def table(rows, class_names):
    """Images a, b of class 0, c of class 1. AdvPT takes c for class 0; attacked, its second seed alone gets a right.

    The refreshed prompt takes all for class 1.
    """
    labels = {"a": 0, "b": 0, "c": 1}
    clean = [("hand", 0, id, label, label) for id, label in labels.items()]
    clean += [
        (prompt, seed, id, label, 0) for prompt in ("coop", "advpt") for seed in (0, 1) for id, label in labels.items()
    ]
    clean += [("advpt_refreshed", 0, id, label, 1) for id, label in labels.items()]
    attacked = [("hand", 0, id, label, 1) for id, label in labels.items()]
    attacked += [("coop", seed, id, label, 1) for seed in (0, 1) for id, label in labels.items()]
    attacked += [
        ("advpt", seed, id, label, 0 if (seed, id) == (1, "a") else 1)
        for seed in (0, 1)
        for id, label in labels.items()
    ]
    attacked += [("advpt_refreshed", 0, id, label, 1) for id, label in labels.items()]
    by_threat = {"clean": rows("clean", *clean), "pgd_eps8": rows("pgd_eps8", *attacked)}
    return classes_table(by_threat, [*class_names, "no images"], [CLEAN, PGD])


def test_a_class_has_the_share_of_its_images_over_all_seeds(table):
    assert table.columns.tolist() == COLUMNS
    assert table.drop(columns=["dataset", "class"]).to_numpy().tolist() == [
        ["clean", 2, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0],
        ["clean", 1, 1.0, 0.0, 0.0, 1.0, -1.0, -1.0, 0.0],
        ["pgd_eps8", 2, 0.0, 0.0, 0.25, 0.0, 0.0, 0.25, 0.0],
        ["pgd_eps8", 1, 1.0, 0.0, 0.0, 1.0, -1.0, -1.0, 0.0],
    ]


def test_names_are_written_as_in_html_and_told_as_they_are(table):
    assert table["class"].tolist()[:2] == ["&lt;script&gt;alert(1)&lt;/script&gt;", "$\\frac$"]
    assert extremes(table) == (
        "In points, tiny, clean, CoOp, largest gains: none; tiny, clean, CoOp, largest losses: “$\\frac$” −100; "
        "tiny, clean, AdvPT, largest gains: none; tiny, clean, AdvPT, largest losses: “$\\frac$” −100; "
        "tiny, clean, AdvPT refreshed, largest gains: none; "
        "tiny, clean, AdvPT refreshed, largest losses: “<script>alert(1)</script>” −100; "
        "tiny, pgd_eps8, CoOp, largest gains: none; tiny, pgd_eps8, CoOp, largest losses: “$\\frac$” −100; "
        "tiny, pgd_eps8, AdvPT, largest gains: “<script>alert(1)</script>” +25; "
        "tiny, pgd_eps8, AdvPT, largest losses: “$\\frac$” −100; "
        "tiny, pgd_eps8, AdvPT refreshed, largest gains: none; tiny, pgd_eps8, AdvPT refreshed, largest losses: none."
    )


def test_each_tuned_prompt_names_the_class_that_it_loses_most_on_without_attack(table):
    assert prices(table) == [
        "clean, by class: CoOp loses most on “$\\frac$”: 0.0 % instead of 100.0 % (n = 1).",
        "clean, by class: AdvPT loses most on “$\\frac$”: 0.0 % instead of 100.0 % (n = 1).",
        "clean, by class: AdvPT refreshed loses most on “<script>alert(1)</script>”: 0.0 % instead of 100.0 % (n = 2).",
    ]


def test_what_is_lost_under_attack_is_no_price(table):
    """All is lost under attack, and the last rows are not the first of their frame."""
    harmless = table.assign(gain_advpt=[0.0, 0.5, -1.0, -1.0])
    assert worst_class(harmless.iloc[::-1], "advpt") == "loses on no class"


def test_of_several_data_sets_the_worst_class_says_whose_it_is(table):
    other = table.assign(dataset="other", advpt_refreshed=[0.5, 1, 0, 1], gain_advpt_refreshed=[-0.5, 0, 0, 0])
    both = pd.concat([other, table])
    assert worst_class(both, "advpt_refreshed") == (
        "loses most on “<script>alert(1)</script>” of tiny: 0.0 % instead of 100.0 % (n = 2)"
    )


def many(count, *, threat="clean"):
    """Classes whose gain rises from -0.5 to 0.5."""
    gains = [index / (count - 1) - 0.5 for index in range(count)]
    lines = [
        ("tiny", threat, f"class {index}", 50, 0.5, 0.5, 0.5 + gain, 0.9, 0.0, gain, 0.4)
        for index, gain in enumerate(gains)
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def test_of_many_classes_the_largest_gains_and_losses_are_drawn():
    lines = chosen(many(1000), many(1000).iloc[::-1])
    assert lines["class"].tolist() == [f"class {index}" for index in [*range(999, 989, -1), *range(9, -1, -1)]]


def test_few_classes_stand_in_one_order_in_all_panels():
    common = many(3)
    other = many(3).assign(gain_advpt=[3, 1, 2])
    assert chosen(other, common)["class"].tolist() == ["class 2", "class 1", "class 0"]
    assert chosen(other, common)["gain_advpt"].tolist() == [2, 1, 3]


def test_marks_stand_where_the_accuracies_are():
    panel = Figure().subplots()
    draw(panel, many(3))
    assert [mark.get_xdata().tolist() for mark in panel.lines] == [[0.5, 0.5, 0.5], [0.0, 0.5, 1.0], [0.9, 0.9, 0.9]]
    assert [text.get_text() for text in panel.texts] == ["−50 / +40", "+0 / +40", "+50 / +40"]
    assert panel.get_xlim() == (0, 1)


def test_a_figure_of_a_thousand_classes_is_no_taller_than_one_of_twenty():
    heights = []
    for count in (20, 1000):
        picture = classes_figure(pd.concat([many(count), many(count, threat="pgd_eps8")]), ["tiny"], [CLEAN, PGD])
        heights.append(int.from_bytes(picture[20:24], "big"))
    assert heights[0] == heights[1] < 1000
