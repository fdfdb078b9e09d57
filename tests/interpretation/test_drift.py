"""Drift of text features, by hand on a 3x2 matrix."""

import numpy as np
import pytest

from stages.interpretation.drift import drift

BEFORE = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)


def test_drift_by_hand():
    """The first class turns by 90 degrees to the second, the second goes on to the third, the third stays."""
    after = np.array([[0, 1], [-0.6, 0.8], [-1, 0]], np.float32)
    found = drift(BEFORE, after)
    assert found.cosine == pytest.approx([0, 0.8, 1])
    assert found.towards.tolist()[:2] == [1, 2]  # of three that gain nothing, it is of no interest which
    # gains over what was: 0·... the second feature had cosine 0 with the first, and has 1; the third 0, and has 0.6
    assert found.gain == pytest.approx([1, 0.6, 0])
    # moves (-1, 1), (-0.6, -0.2), (0, 0); their mean is along (-1.6, 0.8), which is (-2, 1) / √5
    assert found.common == pytest.approx([3 / np.sqrt(10), 1 / np.sqrt(2), 0])


def test_nobody_moves_towards_itself():
    """Though it came back to where it stood, its own feature is no other class."""
    found = drift(BEFORE, -BEFORE)
    assert found.towards.tolist() == [2, 0, 0] and found.gain == pytest.approx([2, 0, 2])


def test_what_stays_has_moved_nowhere():
    found = drift(BEFORE, BEFORE)
    assert (
        found.cosine.tolist() == [1, 1, 1] and found.gain.tolist() == [0, 0, 0] and found.common.tolist() == [0, 0, 0]
    )
