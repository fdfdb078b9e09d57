"""What experiments with rounds of refreshing have found becomes a table and a picture."""

import numpy as np
import pandas as pd

from tests.imports import ROOT
from tests.report.conftest import collisions
from tests.rounds import line, picture
from tests.sweep import SIZE

METRICS = {
    threat: {
        "hand": {"accuracy": hand},
        "advpt_refreshed": {"accuracy": refreshed, "std": 0.01, "n": 500, "seeds": 3},
    }
    for threat, hand, refreshed in (("clean", 0.9, 0.88), ("adaptive_eps4", 0.3, 0.38))
}


def test_a_line_tells_what_changed_of_the_rounds_and_whose_images_judge():
    found = line({"data.validation": 0.25, "refresh.eps": [2], "assess.images": 20}, METRICS)
    assert (found["images"], found["changed"], found["n"], found["seeds"]) == ("validation", "refresh.eps=[2]", 500, 3)
    assert (found["clean_hand"], found["adaptive_eps4_advpt_refreshed"], found["std"]) == (0.9, 0.38, 0.01)
    assert (line({}, METRICS)["images"], line({}, METRICS)["changed"]) == ("test", "the default")


def test_the_picture_shows_only_test_images_and_what_changed_the_bank_alone():
    lines = pd.DataFrame([line({}, METRICS), line({"refresh.eps": [8]}, METRICS)])
    bank = {"changed": "attack.eps=4", "attack.eps": 4, "tune.clean_fraction": 0.0, "clean": 0.8, "adaptive_eps4": 0.3}
    mixed = {**bank, "changed": "attack.eps=4, tune.clean_fraction=0.5", "tune.clean_fraction": 0.5}
    sweep = pd.DataFrame([bank, mixed])
    others = pd.DataFrame([line({"data.validation": 0.25}, METRICS), line({"refresh.rounds": 9}, METRICS)])
    other = pd.DataFrame([{**bank, "changed": "tune.lr=1", "clean": 0.1}])
    drawn = picture(lines, sweep)
    assert picture(pd.concat([lines, others]), pd.concat([sweep, other])) == drawn
    assert picture(lines[:1], sweep) != drawn != picture(lines, sweep[:1])


def test_in_the_committed_picture_no_number_covers_another_or_a_mark(monkeypatch):
    figures = []
    monkeypatch.setattr("tests.rounds.png", figures.append)
    picture(pd.read_csv(ROOT / "reports/rounds.csv"), pd.read_csv(ROOT / "reports/sweep.csv"))
    (panel,) = figures[0].axes
    marks = np.concatenate([line.get_xydata() for line in panel.lines])
    assert len(panel.texts) == len(marks) - 1 and collisions(panel, marks, size=SIZE) == (0, 0, 0)
