"""The pointwise worst of two adaptive threats, by hand."""

import pandas as pd
import pytest

from stages.report.vocabulary import CLEAN, Threat
from stages.report.worst import pointwise_worst, worst_threats

COLUMNS = ["id", "prompt", "seed", "prediction", "correct", "margin"]


def rows(threat, *lines, defence="none"):
    return pd.DataFrame(lines, columns=COLUMNS).assign(threat=threat, defence=defence)


PGD = rows(
    "pgd",
    ("d", "hand", 0, 0, True, 0.5),
    ("a", "hand", 0, 0, True, 2.0),
    ("b", "hand", 0, 1, False, -1.0),
    ("c", "hand", 0, 2, False, -3.0),
    ("a", "advpt", 0, 3, False, -0.1),
    ("a", "advpt", 1, 0, True, 0.1),
)
SQUARE = rows(
    "square",
    ("a", "advpt", 0, 0, True, 9.0),
    ("c", "hand", 0, 5, False, -4.0),
    ("b", "hand", 0, 0, True, 0.3),
    ("a", "hand", 0, 0, True, 1.0),
    ("x", "hand", 0, 7, False, -9.0),
)


def test_worst_is_right_only_if_right_under_every_threat():
    """In the order of the first; `d`, `x` and seed 1 were attacked by one of the two alone."""
    worst = pointwise_worst([PGD, SQUARE], "worst_eps4")
    assert worst[COLUMNS].to_numpy().tolist() == [
        ["a", "hand", 0, 0, True, 1.0],
        ["b", "hand", 0, 1, False, -1.0],
        ["c", "hand", 0, 5, False, -4.0],
        ["a", "advpt", 0, 3, False, -0.1],
    ]
    assert set(worst["threat"]) == {"worst_eps4"} and worst.columns.tolist() == PGD.columns.tolist()


def test_worst_does_not_depend_on_the_order_of_the_threats():
    keys = ["id", "prompt", "seed"]
    one, other = (pointwise_worst(pair, "worst").sort_values(keys) for pair in ([PGD, SQUARE], [SQUARE, PGD]))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def test_a_tie_of_margins_is_wrong_where_one_is_wrong():
    tie = rows("tie", ("a", "hand", 0, 0, True, 0.0)), rows("other", ("a", "hand", 0, 1, False, 0.0))
    assert pointwise_worst(list(tie), "worst")[["prediction", "correct"]].to_numpy().tolist() == [[1, False]]


def test_threats_through_different_defences_have_no_worst():
    with pytest.raises(AssertionError, match="the same defence"):
        pointwise_worst([PGD, SQUARE.assign(defence="jpeg75")], "worst")


def test_threats_that_share_eps_and_defence_have_a_worst():
    def threat(name, eps, knowledge="adaptive", defence="none"):
        return Threat(name, knowledge, {"method": "pgd", "eps": eps, "steps": 1}, defence)

    oblivious = [threat("o1", 4.0, "oblivious"), threat("o2", 4.0, "oblivious")]
    plain = [threat("a", 4.0), threat("b", 8.0), threat("c", 4)]
    through = [threat("d", 4.0, defence="jpeg75"), threat("e", 4.0, defence="jpeg75"), threat("f", 8.0, defence="tv")]
    worst, defended = worst_threats([CLEAN, *oblivious, *plain, *through])
    assert (worst.name, worst.knowledge, worst.eps, worst.defence) == ("worst_eps4", "adaptive", 4, "none")
    assert worst.attack["of"] == ["a", "c"] and worst.recipe == "pointwise worst, eps 4/255"
    assert (defended.name, defended.defence) == ("worst_eps4+jpeg75", "jpeg75")
    assert defended.attack["of"] == ["d", "e"]
