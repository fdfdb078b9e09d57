"""Figures: the same bytes every time, marks where the numbers are, names of classes as they are."""

import warnings
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.report import style
from stages.report.accuracy_figure import accuracy_figure, draw_threats
from stages.report.assessment_figure import OBLIVIOUS, assessment_figure
from stages.report.confusion_figure import most_missed, shares_of
from stages.report.drift_figure import draw_map, map_of, mean_of_others, rounded
from stages.report.eps_figure import draw as draw_eps
from stages.report.eps_figure import eps_figure
from stages.report.figures import interpretation_pictures, mean_drift, nearer_than_random
from stages.report.gallery import examples_of, sample_of, scaled_difference
from stages.report.pca_figure import draw_texts, pca_figure, share_of
from stages.report.prompt_figure import PixelPrompt, draw_cosines, prompt_figure, scaled
from stages.report.style import empty_figure, looks_of
from stages.report.tables import tuning_table
from stages.report.tokens_figure import draw_tokens, drawn_lines
from stages.report.tradeoff_figure import draw as draw_tradeoff
from stages.report.tradeoff_figure import label_threats, tradeoff_figure
from stages.report.tuning_figure import draw_curves
from stages.report.vocabulary import CLEAN, Threat
from stages.runtime.params import Params
from tests.report.studies import (
    ADVPT,
    COOP,
    DRIFT_COLUMNS,
    KNOWING,
    METHODS,
    NAMES,
    PGD,
    THREATS,
    TOKEN_COLUMNS,
    ZERO_SHOT,
    figures_of,
    grey_pixels,
    interpretation_of,
    line_of,
    measured,
    study_of,
)

FILES = ["eps", "accuracy", "tradeoff", "classes", "gallery", "confusion", "assessment", "tuning"]
FILES += ["nearest_tokens", "text_feature_drift", "pca"]


@pytest.fixture
def coarse(monkeypatch):
    """Fewer dots per inch, which is faster."""
    monkeypatch.setitem(style.SETTINGS, "savefig.dpi", 36)


def test_no_figure_of_twenty_methods_is_too_large_for_a_page(monkeypatch):
    monkeypatch.setattr(style, "png", Figure.get_size_inches)  # rendering takes most of the time
    *_, inches = figures_of(20)
    assert list(inches) == FILES and max(height for _, height in inches.values()) < 45


@pytest.mark.reliability
def test_figures_are_the_same_bytes_again_whatever_the_names(coarse):
    names = ["<script>alert(1)</script>", "猫と犬", "$\\frac{a}{b}$ $x", "two\nlines", "\U000f0000", ""]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a letter that the font lacks
        (*_, pictures), (*_, again) = (figures_of(2, datasets=("tiny", "other"), class_names=names) for _ in range(2))
    assert pictures == again and list(pictures) == FILES
    assert all(png.startswith(b"\x89PNG") and b"Software" not in png for png in pictures.values())


# Accuracy


def test_accuracies_within_noise_are_hollow(results):
    """Threats from top to bottom, in each the methods in their order."""
    panel = Figure().subplots()
    draw_threats(panel, results, THREATS)
    assert [mark.get_xdata()[0] for mark in panel.lines] == [line.accuracy for line in results.lines.values()]
    hollow = [index for index, mark in enumerate(panel.lines) if mark.get_markerfacecolor() == "white"]
    assert hollow == [1, 5, 7, 9, 10]
    assert len({(mark.get_color(), mark.get_marker()) for mark in panel.lines}) == len(METHODS)
    places = [mark.get_ydata()[0] for mark in panel.lines]
    assert places == sorted(places) and len(set(places)) == len(places)
    spans = [interval.get_segments()[0][:, 0].tolist() for interval in panel.collections]
    assert spans == [[line.low, line.high] for line in results.lines.values()]


# Robust accuracy against eps


def joined_by(panel):
    return [line.get_xydata().tolist() for line in panel.lines if line.get_linestyle() != "None"]


def test_lines_begin_at_clean_and_join_the_strongest_attack_of_each_eps(results):
    """Two attacks of eps 8: the stronger one is drawn."""
    stronger = Threat("stronger", "oblivious", PGD.attack)
    study = study_of(*results.lines.values(), *(line_of(stronger, method, 0.32) for method in METHODS))
    panel = Figure().subplots()
    draw_eps(panel, replace(study, threats=[CLEAN, PGD, stronger, KNOWING]), "oblivious")
    assert joined_by(panel) == [[[0, c], [8, r]] for c, r in ((0.9, 0.3), (0.9, 0.31), (0.7, 0.32), (0.85, 0.32))]
    assert len({(drawn.get_color(), drawn.get_linestyle()) for drawn in panel.lines[2::3]}) == 4
    assert panel.get_xlim()[0] == 0 and panel.get_ylim() == (0, 1)


def test_lines_of_a_subset_begin_at_the_clean_accuracy_of_its_images(results):
    panel = Figure().subplots()
    draw_eps(panel, results, "adaptive")
    assert [line[0] for line in joined_by(panel)] == [pytest.approx([0, clean]) for clean in (0.75, 0.75, 0.55, 0.7)]
    low, high = panel.collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.5667, 0.8736), abs=2e-2)  # 75 % of 30 images


# Clean against robust accuracy


def test_a_mark_is_at_clean_and_robust_accuracy(results):
    panel = Figure().subplots()
    draw_tradeoff(panel, results, [PGD])
    joined, *marks = panel.lines
    assert joined.get_xydata().tolist() == [[0.7, 0.5], [0.85, 0.35], [0.9, 0.3], [0.9, 0.31]]
    assert [mark.get_xydata()[0].tolist() for mark in marks] == [[0.9, 0.3], [0.9, 0.31], [0.7, 0.5], [0.85, 0.35]]
    assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, True, False, True]
    assert panel.get_xlim() == panel.get_ylim() == (0, 1)
    spans = [interval.get_segments()[0].tolist() for interval in panel.collections[:2]]
    assert spans == [  # the interval of 90 % of 100 images
        [pytest.approx([0.8256, 0.3], abs=1e-4), pytest.approx([0.9448, 0.3], abs=1e-4)],
        [[0.9, 0.25], pytest.approx([0.9, 0.35])],
    ]


def overlaps(texts) -> int:
    boxes = [text.get_window_extent() for text in texts]
    return sum(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])


def test_names_of_threats_do_not_overlap():
    """Six threats that leave nearly the same."""
    threats = [Threat(f"attack_{index}", "oblivious", {"method": "pgd", "eps": 8}) for index in range(6)]
    lines = [line_of(one, ADVPT, 0.5 + at / 500, clean=0.9) for at, one in enumerate(threats)]
    lines += [line_of(one, ZERO_SHOT, 0.5 + at / 500, clean=0.95) for at, one in enumerate(threats)]
    study = study_of(*lines, methods=[ZERO_SHOT, ADVPT], threats=threats)
    figure = Figure(figsize=(4, 4))
    panel = figure.subplots()
    draw_tradeoff(panel, study, threats)
    label_threats(panel, study, threats)
    assert len(panel.texts) == 6 and overlaps(panel.texts) == 0
    assert all(panel.bbox.contains(*text.get_window_extent().min) for text in panel.texts)


@pytest.mark.parametrize("threats", [[CLEAN, PGD, KNOWING], [CLEAN, KNOWING], [CLEAN]], ids=len)
def test_figures_need_no_kind_of_attacker(results, threats):
    study = study_of(*results.lines.values(), threats=threats)
    assert all(draw([study]).startswith(b"\x89PNG") for draw in (tradeoff_figure, eps_figure, accuracy_figure))


# Assessment, tuning, confusion, gallery


def test_the_assessment_is_drawn_with_the_threats_of_its_method(results):
    for method in (COOP, ADVPT):
        left, _ = assessment_figure.__wrapped__({"tiny": measured()}, [results], method).axes
        (mark,) = [line for line in left.lines if line.get_label() == "oblivious PGD"]
        assert mark.get_ydata() == [results.line(PGD, method).accuracy]
        assert left.get_title().endswith(method.label)


def test_confusion_is_in_percent_of_the_actual_class():
    lines = [("tiny", "coop", "a", "a", 3.0), ("tiny", "coop", "a", "b", 1.0), ("tiny", "advpt", "b", "b", 9.0)]
    table = pd.DataFrame(lines, columns=["dataset", "method", "actual", "predicted", "count"])
    assert shares_of(table, "tiny", COOP, ["a", "b"]).tolist() == [[75, 25], [0, 0]]


def test_of_many_classes_the_most_missed_are_shown_in_order():
    shares = np.diag(np.linspace(50, 100, 30))
    shares[:, 0] += 100 - shares.sum(1)
    assert most_missed(shares).tolist() == list(range(1, 21))


@pytest.fixture
def predictions(rows):
    """Two images by each method; the adaptive threat attacks only the second."""
    lines = [(method, 0, id, label, 0) for method in NAMES for label, id in enumerate("ab")]
    few = rows("knowing", *[line for line in lines if line[2] == "b"])
    return {"clean": rows("clean", *lines), "pgd_eps8": rows("pgd_eps8", *lines), "knowing": few}


def test_examples_are_those_that_every_threat_attacked(predictions):
    assert examples_of(predictions, [PGD], 5).to_numpy().tolist() == [["a", 0], ["b", 1]]
    assert examples_of(predictions, [PGD, KNOWING], 5).to_numpy().tolist() == [["b", 1]]
    assert examples_of(predictions, [], 1)["id"].tolist() == ["a"]


def test_predictions_in_the_gallery_are_those_of_the_image(predictions):
    """Of an adaptive threat only those of the method that was attacked."""
    methods = [ZERO_SHOT, ADVPT]
    sample = sample_of("tiny", predictions, ["zero", "one"], THREATS[1:], methods, count=1, pixels_of=grey_pixels)
    assert sample.names == ["one"]
    assert [texts for *_, texts in sample.attacked] == [["hand-written: zero\nAdvPT: zero"], ["AdvPT: zero"]]
    assert (sample.attacked[0][1] - sample.pixels == 8).all()


def test_the_ends_of_the_scale_are_the_ends_of_the_ball():
    clean, adversarial = np.array([100, 100, 100, 100], np.uint8), np.array([92, 100, 104, 108], np.uint8)
    assert scaled_difference(clean, adversarial, 8).tolist() == [0, 0.5, 0.75, 1]


# Interpretation


def tokens_of(*, classes=("",), vectors=2):
    """Two seeds: CoOp nearer than random and unmoved, AdvPT neither, refreshed nearer by distance alone."""
    lines = [
        (method, seed, name, at, measure, 9, rank, f"$\\w{at}$", value, 0.5, f"$\\w{at}$" if method == "coop" else word)
        for method, values in (("coop", (0.4, 0.6)), ("advpt", (0.6, 0.4)), ("refreshed", (0.3, 0.3)))
        for measure, value in zip(("euclidean", "cosine"), values, strict=True)
        for seed in (0, 1)
        for name in classes
        for at in range(1, vectors + 1)
        for rank, word in ((1, "字 & <b>"), (2, "far"))
    ]
    return pd.DataFrame(lines, columns=TOKEN_COLUMNS)


DRIFT = pd.DataFrame(
    [
        ("coop", 0, "a", 1.0, "b", 0.0, 0.5),
        ("coop", 1, "a", 0.8, "b", 0.0, 0.1),
        ("advpt", 0, "a", 0.5, "b", 0.2, 0.9),
        ("refreshed", 0, "a", 0.7, "b", 0.2, 0.8),
    ],
    columns=DRIFT_COLUMNS,
)


def test_the_nearest_tokens_of_the_first_seed_and_context_are_drawn():
    shown = drawn_lines(tokens_of(classes=["one", "two"]))
    assert shown["class"].unique().tolist() == ["one"] and len(shown) == 3 * 2
    assert set(zip(shown["measure"], shown["rank"], shown["seed"], strict=True)) == {("euclidean", 1, 0)}


def test_a_vector_is_beside_its_token_and_a_random_vector(monkeypatch):
    monkeypatch.setattr(style, "FALLBACK_FONTS", ())  # whatever is installed
    panel, lines = Figure().subplots(), drawn_lines(tokens_of())
    draw_tokens(panel, lines[lines["method"] == "advpt"], looks_of(METHODS)["advpt"])
    bars, marks = panel.lines
    assert (marks.get_xdata().tolist(), bars.get_xdata().tolist()) == ([0.6, 0.6], [0.5, 0.5])
    assert marks.get_ydata().tolist() == bars.get_ydata().tolist() == [1, 2]
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["1  “$\\w1$”, “U+5B57 & <b>”", "2  “$\\w2$”, “U+5B57 & <b>”"]
    assert panel.yaxis_inverted()


def test_captions_count_over_all_seeds():
    coop, advpt, refreshed = nearer_than_random(tokens_of(), METHODS).split("; ")
    assert coop == (
        "of the 4 vectors of CoOp, 4 are nearer to one of the 9 tokens than random ones (4 by cosine), and 4 are still "
        "nearest to their initial token"
    )
    assert advpt.startswith("of the 4 vectors of AdvPT, 0 are nearer") and "(0 by cosine), and 0 are" in advpt
    assert refreshed.startswith("of the 4 vectors of AdvPT refreshed, 4 are nearer") and "(0 by cosine)" in refreshed
    assert "of the reference: CoOp 0.90, AdvPT 0.50, AdvPT refreshed 0.70;" in mean_drift(DRIFT, METHODS)
    assert "mean move of all: CoOp 0.30, " in mean_drift(DRIFT, METHODS)


def test_without_a_tuned_context_the_figures_say_so():
    tables = {name: table.head(0) for name, table in interpretation_of(METHODS[:1], ["a", "b"]).items()}
    tables["pca"] = interpretation_of(METHODS[:1], ["a", "b"])["pca"]
    pictures = interpretation_pictures({"tiny": tables}, {"tiny": ["a", "b"]}, METHODS[:1])
    assert list(pictures) == ["nearest_tokens", "text_feature_drift", "pca"]
    assert pictures["nearest_tokens"] == pictures["text_feature_drift"] == empty_figure("no context was tuned")


def test_a_map_is_read_by_label_not_by_name():
    table = interpretation_of(METHODS, ["same", "same", "a"])["cosines"].sample(frac=1, random_state=0)
    cosines, names = map_of(table[table["method"] == "coop"])
    assert names == ["same", "same", "a"]
    np.testing.assert_allclose(cosines, [[1, 2 / 3, 1 / 3], [2 / 3, 1, 2 / 3], [1 / 3, 2 / 3, 1]])
    assert mean_of_others(cosines) == pytest.approx(5 / 9)
    assert [rounded(cosine) for cosine in (-0.001, 0.456)] == ["0.00", "0.46"]


@pytest.mark.parametrize(("classes", "named", "numbered"), [(10, 10, 90), (40, 40, 0), (41, 0, 0)])
def test_a_map_has_the_names_and_numbers_that_can_be_read(classes, named, numbered):
    panel = Figure().subplots()
    draw_map(panel, np.eye(classes), [f"class {label}" for label in range(classes)], lowest=0)
    assert (len(panel.get_yticklabels()), len(panel.texts)) == (named, numbered)


def test_the_share_of_the_variance_is_of_squared_distances():
    table = pd.DataFrame({"kind": ["clean", "clean", "coop"], "x": [3, 0, 9], "y": [0, 1, 9], "distance": [5, 5, 9]})
    assert share_of(table, "clean") == pytest.approx((9 / 50, 1 / 50))


def test_a_curve_is_that_of_its_method():
    """The mean over seeds at each epoch; untuned methods have none."""
    curves = pd.DataFrame(
        [("tiny", method, seed, epoch, at + epoch + seed, 0.5)
         for at, method in enumerate(NAMES[1:]) for epoch in (1, 2) for seed in (0, 2)],
        columns=["dataset", "method", "seed", "epoch", "loss", "accuracy"],
    )  # fmt: skip
    panel = Figure().subplots()
    draw_curves(panel, tuning_table(curves), "loss", METHODS)
    found = {line.get_label(): line.get_ydata().tolist() for line in panel.lines}
    assert found == {"CoOp": [2, 3], "AdvPT": [3, 4], "AdvPT refreshed": [4, 5]}


def test_the_legend_of_the_pca_names_the_methods_that_are_drawn():
    """Class biases leave the text features of the hand-written prompt as they are."""
    drawn = [NAMES[0], NAMES[2]]
    table = pd.DataFrame({"kind": drawn, "label": [0, 1], "x": [0.0, 1.0], "y": [0.0, 1.0]})
    panel = Figure().subplots()
    draw_texts(panel, table, METHODS)
    assert [text.get_text() for text in panel.legend().get_texts()] == [METHODS[0].label, METHODS[2].label]


def test_labels_of_the_pca_take_as_long_whatever_the_number_of_classes(monkeypatch):
    """`adjust_text` takes time and memory with the square of the marks that it has to avoid."""
    sizes = []
    monkeypatch.setattr(
        "stages.report.pca_figure.adjust_text", lambda names, x, y, **_: sizes.append((len(names), len(x)))
    )
    for count in (10, 50):
        names = [f"class {label}" for label in range(count)]
        pca_figure({"tiny": interpretation_of(METHODS[:2], names)["pca"]}, {"tiny": names}, METHODS[:2])
    assert sizes == [(20, 100), (20, 100)]


# Pixel prompts


def test_a_prompt_is_scaled_around_grey():
    pixels = np.zeros((3, 2, 2), np.float32)
    pixels[0, 0, 1], pixels[2, 1, 0] = -0.4, 0.2
    picture = scaled(pixels)
    assert picture[0, 1].tolist() == pytest.approx([0, 0.5, 0.5]) and picture[1, 0, 2] == pytest.approx(0.75)
    assert (scaled(0 * pixels) == 0.5).all()


def test_cosines_are_those_with_the_prompt_or_without(coarse):
    effect = pd.DataFrame({"prompted": [False, False, True], "attacked": [0.1, 0.3, 0.9], "others": [-0.1, 0.1, 0.05]})
    panels = Figure().subplots(1, 2)
    for panel, prompted in zip(panels, (False, True), strict=True):
        draw_cosines(panel, effect, prompted=prompted)
    legends = [[text.get_text().split(": ")[1] for text in panel.legend_.get_texts()] for panel in panels]
    assert legends == [["mean 0.20", "mean 0.00"], ["mean 0.90", "mean 0.05"]]
    assert [sum(bar.get_height() for bar in panel.patches) for panel in panels] == [4, 2]
    prompt = PixelPrompt("tiny, <b>$x$", np.zeros((3, 4, 4), np.float32), effect, np.zeros((4, 4, 3), np.uint8))
    assert prompt_figure([prompt, prompt]) == prompt_figure([prompt, prompt])


def test_every_oblivious_attack_has_a_mark_in_the_assessment():
    annotation = Params.model_fields["oblivious"].annotation  # dict[str, Annotated[A | B | ..., ...]]
    blocks = get_args(get_args(get_args(annotation)[1])[0])
    assert set(OBLIVIOUS) == {get_args(block.model_fields["method"].annotation)[0] for block in blocks}
