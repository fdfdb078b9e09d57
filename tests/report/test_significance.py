"""The paired test against scipy and against tables worked out by hand; Holm's correction by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from stages.report.significance import comparisons, holm, mcnemar


def pair(both, first, second, neither):
    """Two methods by the four cells of their table: on how many images both, one, or neither are correct."""
    cells = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return tuple(np.array(cells).T)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 3), (4, 5), (2, 17), (30, 11), (400, 250), (3000, 3001)])
def test_mcnemar_is_the_binomial_test(first, second):
    expected = binomtest(first, first + second, 0.5).pvalue
    assert mcnemar(*pair(7, first, second, 2)) == pytest.approx(expected, rel=1e-9)


def test_of_several_seeds_the_least_certain_stands():
    """Three seeds better by 9, 5 and 7 images, one side with one seed and one with two."""
    reference = np.zeros(12, bool)
    tuned = np.array([np.arange(12) < better for better in (9, 5, 7)])
    assert mcnemar(tuned, reference) == mcnemar(reference, tuned) == pytest.approx(2 / 2**5)
    assert mcnemar(tuned, np.array([reference, np.arange(12) < 2])) == pytest.approx(2 / 2**3)


def test_seeds_that_point_both_ways_prove_nothing():
    """The reference is right on 8 of 16 images, one seed on all, the other on none."""
    reference = np.arange(16) < 8
    always, never = np.ones(16, bool), np.zeros(16, bool)
    assert mcnemar(always, reference) == mcnemar(never, reference) == pytest.approx(2 / 2**8)
    assert mcnemar(np.array([always, never]), reference) == 1


def test_holm_by_hand():
    """0.01 · 4, 0.02 · 3, the 0.0225 · 2 that may not be less, 0.9 · 1."""
    assert holm(np.array([0.9, 0.0225, 0.01, 0.02])) == pytest.approx([0.9, 0.06, 0.04, 0.06])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.array([0.03])) == pytest.approx([0.03])


def rows(right):
    """Rows by (method, seed) from the images that are correct, in a shuffled order."""
    lines = [(f"{i}", *key, bool(value)) for key, values in right.items() for i, value in enumerate(values)]
    return pd.DataFrame(lines, columns=["id", "method", "seed", "robust"]).sample(frac=1, random_state=0)


PAIRS = [("coop", "zero_shot"), ("advpt", "zero_shot"), ("advpt", "coop")]
PAIRS += [("refreshed", "zero_shot"), ("refreshed", "advpt")]


def test_comparisons_pair_by_image_over_one_family():
    """Two threats, ten tests. Under `a` AdvPT wins 10 (seed 0) and 12 (seed 1) of 12 images, refreshed all."""
    none, ten, all_of = np.zeros(12), np.arange(12) < 10, np.ones(12)
    tuned = {("advpt", 0): ten, ("advpt", 1): all_of, ("refreshed", 0): all_of}
    a = rows({("zero_shot", 0): none, ("coop", 0): none, **tuned})
    b = rows({("zero_shot", 0): ten, ("coop", 0): ten[::-1], ("advpt", 0): ten, ("refreshed", 0): ten})
    p = comparisons({"a": a, "b": b}, PAIRS)
    assert list(p) == [(threat, *pair) for threat in "ab" for pair in PAIRS]
    assert p.pop(("a", "refreshed", "zero_shot")) == 0.004883  # 10 · 2 / 2¹², to 4 digits
    assert p.pop(("a", "advpt", "zero_shot")) == p.pop(("a", "advpt", "coop")) == 0.01758  # 9 · 2 / 2¹⁰
    assert set(p.values()) == {1}
    assert comparisons({"a": a, "b": b}, PAIRS[::-1])["a", "refreshed", "zero_shot"] == 0.004883  # whatever the order


def test_methods_that_classify_other_images_are_refused():
    a = rows({("zero_shot", 0): np.ones(3), ("coop", 0): np.ones(3), ("advpt", 0): np.ones(4)})
    with pytest.raises(AssertionError, match="the same images"):
        comparisons({"a": a}, PAIRS[:3])
