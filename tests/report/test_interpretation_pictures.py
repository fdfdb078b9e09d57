"""What the vectors say: hostile names in figures, shares and maps by hand, what the captions count."""

import warnings
from collections import Counter

import matplotlib.axes
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.report.drift_figure import map_of, mean_of_others, written
from stages.report.interpretation_pictures import nearer_than_random, told_moves, words_pictures, words_tables
from stages.report.pca_figure import draw_images, draw_texts, label_texts, share_of
from stages.report.tokens_figure import draw_words, shown_of
from tests.report.conftest import PROMPTS

COLUMNS = ["prompt", "seed", "class", "position", "measure", "among", "rank", "word", "value", "random", "start_word"]


def words_of(*, classes=("",), vectors=2):
    """Two seeds: CoOp nearer than random and where it began, AdvPT neither, refreshed nearer by distance alone.

    The words look like mathematics.
    """
    lines = [
        (
            prompt,
            seed,
            name,
            at,
            measure,
            9,
            rank,
            f"$\\w{at}$",
            value,
            0.5,
            f"$\\w{at}$" if prompt == "coop" else word,
        )
        for prompt, values in (("coop", (0.4, 0.6)), ("advpt", (0.6, 0.4)), ("advpt_refreshed", (0.3, 0.3)))
        for measure, value in zip(("euclidean", "cosine"), values, strict=True)
        for seed in (0, 1)
        for name in classes
        for at in range(1, vectors + 1)
        for rank, word in ((1, "字 & <b>"), (2, "far"))
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def cosines_of(names):
    """Maps whose cosines are 1 on the diagonal and smaller the further two labels lie apart."""
    lines = [
        (prompt, label, name, other, 1 - abs(label - other) / len(names))
        for prompt in PROMPTS
        for label, name in enumerate(names)
        for other in range(len(names))
    ]
    return pd.DataFrame(lines, columns=["prompt", "label", "class", "other_label", "cosine"])


def plane_of(classes):
    """Three images of each class, clean and attacked, and their texts."""
    lines = [
        (kind, label, label / 10, -label / 20, 1.0)
        for kind, count in (("clean", 3), ("adversarial", 3), *((prompt, 1) for prompt in PROMPTS))
        for label in range(classes)
        for _ in range(count)
    ]
    return pd.DataFrame(lines, columns=["kind", "label", "x", "y", "distance"])


@pytest.fixture
def moved():
    lines = [("coop", 0, "a", 1.0, "b", 0.0, 0.5), ("coop", 1, "a", 0.8, "b", 0.0, 0.1)]
    lines += [("advpt", 0, "a", 0.5, "b", 0.2, 0.9), ("advpt_refreshed", 0, "a", 0.7, "b", 0.2, 0.8)]
    return pd.DataFrame(lines, columns=["prompt", "seed", "class", "cosine", "towards", "gain", "common"])


@pytest.fixture
def said(class_names, moved):
    """Two data sets: a shared context and two classes, contexts of their own and 40 classes."""
    many = [*class_names, *(f"class {index}" for index in range(38))]
    return {
        "tiny": {"words": words_of(), "moves": moved, "cosines": cosines_of(class_names), "plane": plane_of(2)},
        "other": {
            "words": words_of(classes=class_names),
            "moves": moved,
            "cosines": cosines_of(many),
            "plane": plane_of(40),
        },
    }


def test_figures_are_the_same_bytes_again_whatever_the_names(said, class_names):
    names = {"tiny": class_names, "other": [f"{class_names[1]} {index}" for index in range(40)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a letter that the font lacks
        pictures, again = (words_pictures(said, names) for _ in range(2))
    assert pictures == again and list(pictures) == ["words", "moves", "plane"]
    for picture in pictures.values():
        assert picture.png.startswith(b"\x89PNG") and b"Software" not in picture.png
    assert "An illustration, not a meaning" in pictures["words"].caption


def test_of_the_words_the_nearest_of_the_first_seed_and_context_are_drawn(class_names):
    shown = shown_of(words_of(classes=class_names))
    assert shown["class"].unique().tolist() == class_names[:1] and len(shown) == 3 * 2
    assert set(zip(shown["measure"], shown["rank"], shown["seed"], strict=True)) == {("euclidean", 1, 0)}


def test_a_vector_stands_beside_its_word_and_its_random_twin(monkeypatch):
    monkeypatch.setattr("stages.report.style.FALLBACK_FONTS", ())  # whatever is installed
    panel = Figure().subplots()
    lines = shown_of(words_of())
    draw_words(panel, lines[lines["prompt"] == "advpt"], "advpt")
    bars, marks = panel.lines
    assert (marks.get_xdata().tolist(), bars.get_xdata().tolist()) == ([0.6, 0.6], [0.5, 0.5])
    assert marks.get_ydata().tolist() == bars.get_ydata().tolist() == [1, 2]
    assert [label.get_text() for label in panel.get_yticklabels()] == [
        "1  “$\\w1$”, “U+5B57 & <b>”",
        "2  “$\\w2$”, “U+5B57 & <b>”",
    ]
    assert panel.yaxis_inverted()


def test_captions_count_over_all_seeds(moved):
    assert nearer_than_random(words_of()) == (
        "of CoOp's 4 vectors, 4 are nearer to one of the 9 words than their twins "
        "(4 by cosine), and 4 are still nearest to the word they began near; "
        "of AdvPT's 4 vectors, 0 are nearer to one of the 9 words than their twins "
        "(0 by cosine), and 0 are still nearest to the word they began near; "
        "of AdvPT refreshed's 4 vectors, 4 are nearer to one of the 9 words than their twins "
        "(0 by cosine), and 0 are still nearest to the word they began near"
    )
    assert "of its class: CoOp 0.90, AdvPT 0.50, AdvPT refreshed 0.70;" in told_moves(moved)
    assert "mean move of all: CoOp 0.30, " in told_moves(moved)


def test_tables_name_their_data_set(said, moved):
    tables = words_tables(said)
    assert list(tables) == ["words", "moves"]
    assert tables["moves"]["dataset"].tolist() == ["tiny"] * len(moved) + ["other"] * len(moved)
    assert list(tables["words"]) == ["dataset", *COLUMNS]


def test_a_map_is_read_by_label_not_by_name():
    table = cosines_of(["same", "same", "a"]).sample(frac=1, random_state=0)
    cosines, names = map_of(table[table["prompt"] == "coop"])
    assert names == ["same", "same", "a"]
    np.testing.assert_allclose(cosines, [[1, 2 / 3, 1 / 3], [2 / 3, 1, 2 / 3], [1 / 3, 2 / 3, 1]])
    assert mean_of_others(cosines) == pytest.approx(5 / 9)
    assert [written(cosine) for cosine in (-0.001, 0.456)] == ["0.00", "0.46"]


def test_the_share_that_is_seen_is_of_squared_distances():
    table = pd.DataFrame({"kind": ["clean", "clean", "hand"], "x": [3, 0, 9], "y": [0, 1, 9], "distance": [5, 5, 9]})
    assert share_of(table, "clean") == pytest.approx((9 / 50, 1 / 50))


def test_of_many_classes_ten_have_a_colour_and_a_number():
    panel = Figure().subplots()
    assert isinstance(panel, matplotlib.axes.Axes)
    table = plane_of(12)
    draw_images(panel, table[table["kind"] == "clean"], [f"$class {index}$" for index in range(12)])
    draw_texts(panel, table)
    sizes = [len(points.get_offsets()) for points in panel.collections]
    assert sizes == [2 * 3, *[3] * 10, *[12] * 4]  # the other classes, ten classes, texts of four prompts
    panel.figure.draw_without_rendering()
    label_texts(panel, table, "clean")
    assert Counter(text.get_text() for text in panel.texts) == {str(label): 4 for label in range(10)}
