"""Figures: the same bytes every time, hostile names, the scale of a difference."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.report.accuracy_figure import draw_group
from stages.report.assessment_figure import assessment_figure
from stages.report.classes import classes_table
from stages.report.confusion_figure import most_missed, shares_of
from stages.report.gallery import scaled_difference
from stages.report.pictures import pictures_of
from stages.report.samples import examples_of, sample_of
from stages.report.tables import confusion_table, tuning_table
from stages.report.tuning_figure import draw_curves
from stages.report.vocabulary import CLEAN
from tests.report.conftest import PROMPTS


@pytest.fixture
def study(rows):
    """Two images by each prompt; the adaptive threat attacks only the second."""
    lines = [(prompt, 0, id, label, 0) for prompt in PROMPTS for label, id in enumerate("ab")]
    return {
        "clean": rows("clean", *lines),
        "pgd_eps8": rows("pgd_eps8", *lines),
        "knowing": rows("knowing", *[line for line in lines if line[2] == "b"]),
    }


def pixels_of(threat, ids):
    """Grey images, brighter by the threat's eps."""
    return np.stack([np.full((4, 4, 3), 100 + threat.eps + len(id), np.uint8) for id in ids])


def test_examples_are_those_that_every_threat_attacked(study, threats):
    _, oblivious, adaptive = threats
    assert examples_of(study, [oblivious], 5).to_numpy().tolist() == [["a", 0], ["b", 1]]
    assert examples_of(study, [oblivious, adaptive], 5).to_numpy().tolist() == [["b", 1]]
    assert examples_of(study, [], 1)["id"].tolist() == ["a"]


def test_verdicts_are_those_of_the_image(study, threats):
    sample = sample_of("tiny", study, ["zero", "one"], threats[1:], 1, pixels_of=pixels_of)
    assert sample.names == ["one"]
    assert [attacked.verdicts for attacked in sample.attacked] == [["hand-written: zero\nAdvPT: zero"], ["AdvPT: zero"]]
    assert (sample.attacked[0].pixels - sample.pixels == 8).all()


def test_the_ends_of_the_scale_are_the_ends_of_the_ball():
    clean, adversarial = np.array([100, 100, 100, 100], np.uint8), np.array([92, 100, 104, 108], np.uint8)
    assert scaled_difference(clean, adversarial, 8).tolist() == [0, 0.5, 0.75, 1]


def test_confusion_is_in_percent_of_the_actual_class():
    lines = [("tiny", "hand", "a", "a", 3.0), ("tiny", "hand", "a", "b", 1.0), ("tiny", "advpt", "b", "b", 9.0)]
    table = pd.DataFrame(lines, columns=["dataset", "prompt", "actual", "predicted", "count"])
    assert shares_of(table, "tiny", "hand", ["a", "b"]).tolist() == [[75, 25], [0, 0]]


def test_of_many_classes_the_most_missed_are_shown_in_order():
    shares = np.diag(np.linspace(50, 100, 30))
    shares[:, 0] += 100 - shares.sum(1)
    assert most_missed(shares).tolist() == list(range(1, 21))


def test_accuracies_within_noise_are_hollow(results, threats):
    """Threats from top to bottom, in each the hand-written prompt, CoOp, AdvPT, AdvPT refreshed."""
    panel = Figure().subplots()
    draw_group(panel, results, "tiny", threats)
    assert [mark.get_xdata()[0] for mark in panel.lines] == [line.accuracy for line in results.values()]
    hollow = [index for index, mark in enumerate(panel.lines) if mark.get_markerfacecolor() == "white"]
    assert hollow == [1, 5, 7, 9, 10]
    assert len({(mark.get_color(), mark.get_marker()) for mark in panel.lines}) == len(PROMPTS)
    places = [mark.get_ydata()[0] for mark in panel.lines]
    assert places == sorted(places) and len(set(places)) == len(places)
    spans = [interval.get_segments()[0][:, 0].tolist() for interval in panel.collections]
    assert spans == [[line.low, line.high] for line in results.values()]


def test_a_curve_is_that_of_its_prompt():
    """The mean over seeds at each epoch; every line looks other than the rest."""
    curves = pd.DataFrame(
        [("tiny", prompt, 0, epoch, at + epoch, 0.5) for at, prompt in enumerate(PROMPTS[1:]) for epoch in (1, 2)],
        columns=["dataset", "prompt", "seed", "epoch", "loss", "accuracy"],
    )
    panel = Figure().subplots()
    draw_curves(panel, tuning_table(curves), "loss")
    assert {line.get_label().split(",")[0]: line.get_ydata().tolist() for line in panel.lines} == {
        "CoOp": [1, 2], "AdvPT": [2, 3], "AdvPT refreshed": [3, 4],
    }  # fmt: skip
    assert len({line.get_linestyle() for line in panel.lines} | {line.get_color() for line in panel.lines}) == 6


def test_the_assessment_is_drawn_with_the_threats_of_its_prompt(results, threats, monkeypatch):
    """Of the measured prompt are the title and the marks of oblivious threats."""
    figures = []
    monkeypatch.setattr("stages.report.assessment_figure.png", figures.append)
    assessment_figure({"tiny": measured().assign(prompt="advpt_refreshed")}, results, threats)
    left, _ = figures[0].axes
    assert left.get_title(loc="left") == "tiny, AdvPT refreshed"
    (mark,) = (line for line in left.lines if line.get_label() == "oblivious PGD")
    assert mark.get_ydata().tolist() == [results["tiny", "pgd_eps8", "advpt_refreshed"].accuracy] == [0.35]


def measured():
    """Robust accuracies against eps and steps."""
    lines = [("accuracy", attack, eps, 5, 0.5, 9) for attack in ("pgd", "margin", "noise") for eps in (0, 4)]
    lines += [("accuracy", attack, 4, 1, 0.6, 9) for attack in ("pgd", "margin")]
    lines += [("square_gain", "square", 4, 5, 0.0, 9), ("autoattack", "autoattack", 4, 100, 0.4, 9)]
    return pd.DataFrame(lines, columns=["measure", "attack", "eps", "steps", "value", "n"])


def test_figures_of_two_data_sets_are_the_same_bytes_again(results, threats, study, class_names):
    """Two data sets, one of them without a single attacked picture; a class name that looks like mathematics."""
    both = results | {("other", *key[1:]): line._replace(dataset="other") for key, line in results.items()}
    columns = ["dataset", "prompt", "seed", "epoch", "loss", "accuracy"]
    curves = pd.DataFrame([(d, p, 0, 1, 1.0, 0.5) for d in ("tiny", "other") for p in PROMPTS[1:]], columns=columns)
    confusion = pd.concat([confusion_table(study["clean"].assign(dataset=d), class_names) for d in ("tiny", "other")])
    by_class = [
        classes_table({"clean": study["clean"].assign(dataset=d)}, class_names, [CLEAN]) for d in ("tiny", "other")
    ]
    tables = {"tuning": tuning_table(curves), "confusion": confusion, "classes": pd.concat(by_class)}
    samples = [
        sample_of(dataset, study, class_names, seen, 2, pixels_of=pixels_of)
        for dataset, seen in (("tiny", threats[1:]), ("other", []))
    ]
    names = {"tiny": class_names, "other": class_names}
    by_dataset = {"tiny": measured().assign(prompt="advpt"), "other": measured().assign(prompt="coop")}
    pictures, again = (pictures_of(both, tables, samples, by_dataset, names, threats, CLEAN) for _ in range(2))
    assert pictures == again
    assert list(pictures) == [
        "accuracy", "eps", "assessment", "tradeoff", "gallery", "classes", "confusion", "tuning"
    ]  # fmt: skip
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures.values())
    assert not any(b"Software" in picture.png for picture in pictures.values())
