"""Accuracies against tables worked out by reference."""

import numpy as np
import pandas as pd
import pytest

from stages.report.statistics import accuracies, robust_rows, wilson


def rows(*lines, threat="pgd"):
    """Lines of (id, method, seed, correct)."""
    return pd.DataFrame(lines, columns=["id", "method", "seed", "correct"]).assign(threat=threat)


CLEAN = rows(
    ("a", "zero_shot", 0, True),
    ("b", "zero_shot", 0, True),
    ("c", "zero_shot", 0, False),
    ("a", "advpt", 0, True),
    ("b", "advpt", 0, False),
    ("c", "advpt", 0, True),
    threat="clean",
)
ATTACKED = rows(
    ("c", "advpt", 0, True),
    ("b", "advpt", 0, True),
    ("a", "advpt", 0, False),
    ("a", "zero_shot", 0, True),
    ("c", "zero_shot", 0, True),
    ("b", "zero_shot", 0, False),
)


def test_robust_is_correct_clean_and_under_attack_of_the_same_example():
    """Three images by two methods, in another order than the clean rows."""
    joined = robust_rows(CLEAN, ATTACKED)
    robust = {(line.id, line.method): line.robust for line in joined.itertuples()}
    assert [key for key, value in robust.items() if value] == [("c", "advpt"), ("a", "zero_shot")]
    assert accuracies(joined).set_index("method")["accuracy"].to_dict() == {"advpt": 0.333333, "zero_shot": 0.333333}


def test_a_seed_is_joined_with_itself():
    clean = rows(("a", "coop", 0, False), ("a", "coop", 1, True), threat="clean")
    joined = robust_rows(clean, rows(("a", "coop", 0, True), ("a", "coop", 1, True)))
    assert joined["robust"].tolist() == [False, True]


def test_a_subset_of_images_is_its_own_n():
    found = accuracies(robust_rows(CLEAN, ATTACKED[ATTACKED["id"] != "b"]))
    assert found["n"].tolist() == [2, 2]
    assert found["accuracy"].tolist() == [0.5, 0.5]


def test_an_example_without_a_clean_row_is_refused():
    with pytest.raises(ValueError, match="'pgd' has examples without a clean row"):
        robust_rows(CLEAN, rows(("a", "zero_shot", 1, True)))


@pytest.mark.parametrize("side", [0, 1])
def test_an_example_there_twice_is_refused(side):
    pair = [CLEAN, ATTACKED]
    pair[side] = pd.concat([pair[side], pair[side].head(1)])
    with pytest.raises(ValueError, match="an example twice"):
        robust_rows(*pair)


def test_std_is_over_seeds_and_undefined_for_one():
    """Seeds with accuracies 1, 0.5 and 0: mean 0.5, sample standard deviation 0.5."""
    robust = pd.DataFrame(
        {
            "method": ["zero_shot"] * 2 + ["advpt"] * 6,
            "seed": [0, 0, 0, 0, 1, 1, 2, 2],
            "robust": [True, False, True, True, True, False, False, False],
        }
    )
    reference, advpt = accuracies(robust).itertuples(index=False)
    assert (reference.accuracy, reference.n, reference.seeds) == (0.5, 2, 1) and np.isnan(reference.std)
    assert (advpt.accuracy, advpt.std, advpt.n, advpt.seeds) == (0.5, 0.5, 2, 3)
    assert (advpt.low, advpt.high) == (reference.low, reference.high)


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [(0.5, 100, 0.4038, 0.5962), (0.0, 10, 0.0, 0.2775), (1.0, 10, 0.7225, 1.0), (0.15, 20, 0.0524, 0.3604)],
)
def test_wilson_against_known_intervals(share, n, low, high):
    assert np.round(wilson(share, n), 4).tolist() == [low, high]
