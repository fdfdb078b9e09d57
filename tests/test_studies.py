"""The studies behind tables of README.md: which images are tuned on and evaluated, and which experiments are shown."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reports.studies import folds, rounds, sweep

LABELS = np.repeat(np.arange(3), [8, 12, 16])
METRICS = {
    threat: {
        "zero_shot": {"accuracy": zero_shot},
        "advpt_refreshed": {"accuracy": refreshed, "std": 0.01, "n": 500, "seeds": 3},
    }
    for threat, zero_shot, refreshed in (("clean", 0.9, 0.88), ("adaptive_eps4", 0.3, 0.38))
}
EPS = f"{rounds.BLOCK}eps"


class Laboratory:
    """Records what is tuned on and evaluated; an image is right if it was not tuned on."""

    def __init__(self) -> None:
        self.images = SimpleNamespace(labels=LABELS)
        self.pairs = []

    def tuned(self, way, part):
        return part

    def right(self, tuned, evaluated):
        self.pairs.append((tuned, evaluated))
        return {"clean": ~tuned[evaluated]}


def test_folds_have_equal_shares_of_each_class():
    found = folds.folds_of(LABELS)
    for label, share in ((0, 2), (1, 3), (2, 4)):
        assert np.bincount(found[np.equal(LABELS, label)]).tolist() == [share] * folds.FOLDS


def test_each_image_is_evaluated_once_by_what_was_not_tuned_on_it():
    laboratory = Laboratory()
    gains = folds.gains_of(laboratory, folds.WAYS["the default"], {"clean": np.zeros(len(LABELS))})
    assert (gains["clean"] == 1).all()
    assert all((tuned ^ evaluated).all() for tuned, evaluated in laboratory.pairs)
    assert (sum(evaluated.astype(int) for _, evaluated in laboratory.pairs) == 1).all()


def test_standard_error_is_that_of_the_paired_difference():
    gain = np.array([1.0, 0, 0, -1, 1, 0, 0, 0])
    found = folds.line("x", {"clean": gain})
    assert found["clean"] == pytest.approx(12.5) and found["n"] == 8
    assert found["clean se"] == pytest.approx(100 * np.sqrt(((gain - 0.125) ** 2).mean() / 8), abs=0.005)


def test_row_of_rounds_states_changes_and_images():
    found = rounds.line({"data.validation": 0.25, EPS: [2], "assess.images": 20}, METRICS)
    assert (found["images"], found["changed"], found["n"], found["seeds"]) == ("validation", "refresh.eps=[2]", 500, 3)
    assert (found["clean_zero_shot"], found["adaptive_eps4_advpt_refreshed"], found["std"]) == (0.9, 0.38, 0.01)
    assert (rounds.line({}, METRICS)["images"], rounds.line({}, METRICS)["changed"]) == ("test", "the default")


def test_figures_show_test_images_and_changes_of_the_bank_alone():
    default = {"changed": "the default", "attack.eps": 8, "tune.clean_fraction": 0.0}
    smaller = {"changed": "attack.eps=4", "attack.eps": 4, "tune.clean_fraction": 0.0}
    mixed = {"changed": "tune.clean_fraction=0.5", "attack.eps": 8, "tune.clean_fraction": 0.5}
    rows = (default, 0.7), (smaller, 0.9), (mixed, 0.8)
    bank = pd.DataFrame([row | dict.fromkeys(sweep.THREATS, accuracy) for row, accuracy in rows])
    other = pd.DataFrame([{**bank.iloc[0], "changed": "tune.lr=1, attack.eps=2", "clean": 0.1}])
    drawn = sweep.picture(bank)
    assert sweep.picture(pd.concat([bank, other])) == drawn != sweep.picture(bank[:2])

    lines = pd.DataFrame([rounds.line({}, METRICS), rounds.line({EPS: [8]}, METRICS)])
    changed = {"data.validation": 0.25}, {f"{rounds.BLOCK}rounds": 9}
    others = pd.DataFrame([rounds.line(change, METRICS) for change in changed])
    drawn = rounds.picture(lines, bank, eps=4)
    assert rounds.picture(pd.concat([lines, others]), pd.concat([bank, other]), eps=4) == drawn
    assert rounds.picture(lines[:1], bank, eps=4) != drawn != rounds.picture(lines, bank[:2], eps=4)


def test_nested_parameters_become_dotted_keys():
    assert sweep.flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
