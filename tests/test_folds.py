"""Ways to tune, cross-validated: who is tuned on, who is judged, and what the standard error is of."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.folds import FOLDS, WAYS, folds_of, gains_of, line

LABELS = np.repeat(np.arange(3), [8, 12, 16])


def test_every_class_is_shared_out_equally():
    folds = folds_of(LABELS)
    for label, share in ((0, 2), (1, 3), (2, 4)):
        assert np.bincount(folds[np.equal(LABELS, label)]).tolist() == [share] * FOLDS


class Laboratory:
    """Notes who is tuned on and judged; what comes out is right on every image that it was not tuned on."""

    def __init__(self) -> None:
        self.images = SimpleNamespace(labels=LABELS)
        self.pairs = []

    def tuned(self, way, part):
        return part

    def right(self, tuned, judged):
        self.pairs.append((tuned, judged))
        return {"clean": ~tuned[judged]}


def test_nobody_is_judged_by_what_was_tuned_on_it():
    laboratory = Laboratory()
    gains = gains_of(laboratory, WAYS["the default"], {"clean": np.zeros(len(LABELS))})
    assert (gains["clean"] == 1).all()
    assert all((tuned ^ judged).all() for tuned, judged in laboratory.pairs)
    assert (sum(judged.astype(int) for _, judged in laboratory.pairs) == 1).all()


def test_the_standard_error_is_that_of_the_paired_difference():
    gain = np.array([1.0, 0, 0, -1, 1, 0, 0, 0])
    found = line("x", {"clean": gain})
    assert found["clean"] == pytest.approx(12.5) and found["n"] == 8
    assert found["clean se"] == pytest.approx(100 * np.sqrt(((gain - 0.125) ** 2).mean() / 8), abs=0.005)
