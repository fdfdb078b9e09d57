"""What experiments have found becomes a table and a picture."""

import numpy as np
import pandas as pd

from tests.imports import ROOT
from tests.report.conftest import collisions
from tests.sweep import SIZE, THREATS, flat, picture


def test_nested_parameters_become_dotted_keys():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


def test_the_picture_shows_only_what_changed_the_bank_alone():
    rows = [("the default", 8, 0.0, 0.7), ("attack.eps=4", 4, 0.0, 0.9), ("tune.clean_fraction=0.5", 8, 0.5, 0.8)]
    lines = pd.DataFrame(
        [
            {"changed": changed, "attack.eps": eps, "tune.clean_fraction": share} | dict.fromkeys(THREATS, accuracy)
            for changed, eps, share, accuracy in rows
        ]
    )
    other = pd.DataFrame([{**lines.iloc[0], "changed": "tune.lr=1, attack.eps=2", "clean": 0.1}])
    assert picture(pd.concat([lines, other])) == picture(lines) != picture(lines[:2])


def test_in_the_committed_picture_no_number_covers_another_or_a_mark(monkeypatch):
    figures = []
    monkeypatch.setattr("tests.sweep.png", figures.append)
    picture(pd.read_csv(ROOT / "reports/sweep.csv"))
    for panel in figures[0].axes:
        marks = np.concatenate([line.get_xydata() for line in panel.lines])
        assert len(panel.texts) == len(marks) and collisions(panel, marks, size=SIZE) == (0, 0, 0)
