"""Figures: the same bytes every time, hostile names, the scale of a difference."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.report.accuracy_figure import draw_group
from stages.report.classes import classes_table
from stages.report.confusion_figure import most_missed, shares_of
from stages.report.gallery import scaled_difference
from stages.report.pictures import pictures_of
from stages.report.samples import examples_of, sample_of
from stages.report.tables import confusion_table, tuning_table
from stages.report.vocabulary import CLEAN


@pytest.fixture
def study(rows):
    """Two images by each prompt; the adaptive threat attacks only the second."""
    lines = [(prompt, 0, id, label, 0) for prompt in ("hand", "coop", "advpt") for label, id in enumerate("ab")]
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
    """Threats from top to bottom, in each the hand-written prompt, CoOp, AdvPT."""
    panel = Figure().subplots()
    draw_group(panel, results, "tiny", threats)
    assert [mark.get_xdata()[0] for mark in panel.lines] == [line.accuracy for line in results.values()]
    hollow = [mark.get_markerfacecolor() == "white" for mark in panel.lines]
    assert hollow == [False, True, False, False, True, False, False, True, True]
    spans = [interval.get_segments()[0][:, 0].tolist() for interval in panel.collections]
    assert spans == [[line.low, line.high] for line in results.values()]


def test_figures_of_two_data_sets_are_the_same_bytes_again(results, threats, study, class_names):
    """Two data sets, one of them without a single attacked picture; a class name that looks like mathematics."""
    both = results | {("other", *key[1:]): line._replace(dataset="other") for key, line in results.items()}
    columns = ["dataset", "prompt", "seed", "epoch", "loss", "accuracy"]
    curves = pd.DataFrame(
        [(d, p, 0, 1, 1.0, 0.5) for d in ("tiny", "other") for p in ("coop", "advpt")], columns=columns
    )
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
    lines = [("accuracy", attack, eps, 5, 0.5, 9) for attack in ("pgd", "margin", "noise") for eps in (0, 4)]
    lines += [("accuracy", attack, 4, 1, 0.6, 9) for attack in ("pgd", "margin")]
    lines += [("square_gain", "square", 4, 5, 0.0, 9), ("autoattack", "autoattack", 4, 100, 0.4, 9)]
    measured = pd.DataFrame(lines, columns=["measure", "attack", "eps", "steps", "value", "n"])
    pictures, again = (
        pictures_of(both, tables, samples, dict.fromkeys(names, measured), names, threats, CLEAN) for _ in range(2)
    )
    assert pictures == again
    assert list(pictures) == [
        "accuracy", "eps", "assessment", "tradeoff", "gallery", "classes", "confusion", "tuning"
    ]  # fmt: skip
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures.values())
    assert not any(b"Software" in picture.png for picture in pictures.values())
