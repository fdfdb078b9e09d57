"""Gains and losses by class: tables by hand, and which of many classes are drawn."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.report.classes import classes_table, worst_class
from stages.report.classes_figure import classes_figure, draw, ordered_classes
from stages.report.vocabulary import CLEAN
from tests.report.studies import ADVPT, CLASS_NAMES, COOP, METHODS, PGD, REFRESHED, ZERO_SHOT

COLUMNS = ["dataset", "threat", "class", "method", "n", "accuracy", "gain"]


@pytest.fixture
def table(rows):
    """Images a, b of class 0, c of class 1. AdvPT takes c for class 0; attacked, its second seed alone gets a right.

    The refreshed method takes all for class 1.
    """
    labels = {"a": 0, "b": 0, "c": 1}
    seeds = {"zero_shot": (0,), "coop": (0, 1), "advpt": (0, 1), "refreshed": (0,)}
    clean = {"zero_shot": labels.get, "refreshed": lambda id: 1}
    lines = [
        (method, seed, id, label, clean.get(method, lambda id: 0)(id))
        for method, some in seeds.items() for seed in some for id, label in labels.items()
    ]  # fmt: skip
    attacked = [(*line[:4], 0 if line[:3] == ("advpt", 1, "a") else 1) for line in lines]
    predictions = {"clean": rows("clean", *lines), "pgd_eps8": rows("pgd_eps8", *attacked)}
    return classes_table(predictions, [*CLASS_NAMES, "no images"], METHODS, [CLEAN, PGD])


def test_a_class_has_the_share_of_its_images_over_all_seeds(table):
    assert table.columns.tolist() == COLUMNS
    assert table["method"].tolist() == [method.name for method in METHODS] * 4
    assert table["n"].tolist() == [*[2] * 4, *[1] * 4] * 2
    assert table["accuracy"].tolist() == [1, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0.25, 0, 1, 0, 0, 1]
    assert table["gain"].tolist() == [0, 0, 0, -1, 0, -1, -1, 0, 0, 0, 0.25, 0, 0, -1, -1, 0]
    assert table["class"].unique().tolist() == ["&lt;script&gt;alert(1)&lt;/script&gt;", "$\\frac$"]


def test_each_method_names_the_class_that_it_loses_most_on_without_attack(table):
    assert worst_class(table, COOP) == "the class that loses most is “$\\frac$”, 0.0 % instead of 100.0 % (n = 1)"
    assert worst_class(table, REFRESHED) == (
        "the class that loses most is “<script>alert(1)</script>”, 0.0 % instead of 100.0 % (n = 2)"
    )
    both = pd.concat([table.assign(dataset="other", gain=0.0), table])
    assert "“<script>alert(1)</script>” of tiny, 0.0 %" in worst_class(both, REFRESHED)


def test_losses_under_attack_are_no_price(table):
    """All is lost under attack, and the last rows are not the first of their frame."""
    harmless = table.assign(gain=[0.5] * 8 + [-1.0] * 8)
    assert worst_class(harmless.iloc[::-1], ADVPT) == "no class loses"


def many(count, *, threat="clean"):
    """Classes whose gain by AdvPT rises from -0.5 to 0.5, the reference at 0.5."""
    gains = [index / (count - 1) - 0.5 for index in range(count)]
    lines = [
        ("tiny", threat, f"class {index}", method.name, 50, 0.5 + change, change)
        for index, gain in enumerate(gains)
        for method, change in ((ZERO_SHOT, 0.0), (ADVPT, gain))
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def test_of_many_classes_the_largest_gains_and_losses_are_drawn():
    names = ordered_classes(many(1000), many(1000).iloc[::-1], ADVPT)
    assert names == [f"class {index}" for index in [*range(999, 989, -1), *range(9, -1, -1)]]


def test_few_classes_are_in_one_order_in_all_panels():
    other = many(3)
    other["gain"] = -other["gain"]
    assert ordered_classes(other, many(3), ADVPT) == ["class 2", "class 1", "class 0"]


def test_marks_are_where_the_accuracies_are():
    panel = Figure().subplots()
    draw(panel, many(3), ["class 0", "class 1", "class 2"], [ZERO_SHOT, ADVPT], ADVPT)
    assert [mark.get_xdata().tolist() for mark in panel.lines] == [[0.5, 0.5, 0.5], [0.0, 0.5, 1.0]]
    assert [mark.get_ydata().tolist() for mark in panel.lines] == [[-0.2, 0.8, 1.8], [0.2, 1.2, 2.2]]
    assert [text.get_text() for text in panel.texts] == ["−50", "+0", "+50"]
    assert panel.get_xlim() == (0, 1)


def test_a_figure_of_a_thousand_classes_is_no_taller_than_one_of_twenty():
    heights = []
    for count in (20, 1000):
        both = pd.concat([many(count), many(count, threat="pgd_eps8")])
        picture = classes_figure(both, ["tiny"], [CLEAN, PGD], [ZERO_SHOT, ADVPT], ADVPT)
        heights.append(int.from_bytes(picture[20:24], "big"))
    assert heights[0] == heights[1] < 1000
