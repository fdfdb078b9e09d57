"""The threats of a report, and the pointwise worst of two adaptive ones, by hand."""

import pandas as pd

from stages.report.threats import pointwise_worst, threats_of, worst_threats
from stages.report.vocabulary import CLEAN, Threat

COLUMNS = ["id", "method", "seed", "prediction", "correct", "margin"]


def rows(threat, *lines):
    return pd.DataFrame(lines, columns=COLUMNS).assign(threat=threat)


PGD = rows(
    "pgd",
    ("d", "zero_shot", 0, 0, True, 0.5),
    ("a", "zero_shot", 0, 0, True, 2.0),
    ("b", "zero_shot", 0, 1, False, -1.0),
    ("c", "zero_shot", 0, 2, False, -3.0),
    ("a", "advpt", 0, 3, False, -0.1),
    ("a", "advpt", 1, 0, True, 0.1),
)
SQUARE = rows(
    "square",
    ("a", "advpt", 0, 0, True, 9.0),
    ("c", "zero_shot", 0, 5, False, -4.0),
    ("b", "zero_shot", 0, 0, True, 0.3),
    ("a", "zero_shot", 0, 0, True, 1.0),
    ("x", "zero_shot", 0, 7, False, -9.0),
)


def test_worst_is_correct_only_if_correct_under_every_threat():
    """In the order of the first; `d`, `x` and seed 1 were attacked by one of the two alone."""
    worst = pointwise_worst([PGD, SQUARE], "worst_eps4")
    assert worst[COLUMNS].to_numpy().tolist() == [
        ["a", "zero_shot", 0, 0, True, 1.0],
        ["b", "zero_shot", 0, 1, False, -1.0],
        ["c", "zero_shot", 0, 5, False, -4.0],
        ["a", "advpt", 0, 3, False, -0.1],
    ]
    assert set(worst["threat"]) == {"worst_eps4"} and worst.columns.tolist() == PGD.columns.tolist()


def test_a_tie_of_margins_is_wrong_where_one_is_wrong():
    tie = rows("tie", ("a", "coop", 0, 0, True, 0.0)), rows("other", ("a", "coop", 0, 1, False, 0.0))
    assert pointwise_worst(list(tie), "worst")[["prediction", "correct"]].to_numpy().tolist() == [[1, False]]


def threat(name, eps, knowledge="adaptive"):
    return Threat(name, knowledge, {"method": "pgd", "eps": eps, "steps": 1})


def test_the_worst_of_an_eps_counts_the_oblivious_threats():
    """Where there is an adaptive one, and another."""
    oblivious = [threat("o1", 4.0, "oblivious"), threat("o2", 2.0, "oblivious")]
    adaptive = [threat("a", 4.0), threat("b", 8.0), threat("c", 4)]
    (worst,) = worst_threats([CLEAN, *oblivious, *adaptive])
    assert (worst.name, worst.knowledge, worst.eps, worst.is_worst) == ("worst_eps4", "adaptive", 4, True)
    assert worst.attack["of"] == ["o1", "a", "c"] and worst.recipe == "pointwise worst, eps 4/255"


def test_threats_are_in_the_order_of_the_blocks():
    class Block:
        def __init__(self, eps):
            self.eps = eps

        def model_dump(self):
            return {"method": "pgd", "eps": self.eps}

    found = threats_of({"b": Block(8), "a": Block(4)}, {"d": Block(4), "c": Block(4)})
    assert [(one.name, one.knowledge) for one in found] == [
        ("clean", "clean"), ("b", "oblivious"), ("a", "oblivious"), ("d", "adaptive"), ("c", "adaptive"),
        ("worst_eps4", "adaptive"),
    ]  # fmt: skip
