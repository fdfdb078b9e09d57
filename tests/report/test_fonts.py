"""Class names in scripts that the figures' font lacks: drawn by another font, or replaced; never a warning."""

import warnings

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from stages.report import style
from stages.report.classes import classes_table
from stages.report.classes_figure import classes_figure
from stages.report.confusion_figure import confusion_figure
from stages.report.gallery import gallery
from stages.report.interpretation_pictures import words_pictures
from stages.report.samples import sample_of
from stages.report.style import FONT, drawable, png, short, styled
from stages.report.tables import confusion_table
from stages.report.vocabulary import CLEAN
from tests.report.conftest import PGD, PROMPTS
from tests.report.test_figures import pixels_of
from tests.report.test_interpretation_pictures import cosines_of, plane_of, words_of

NAMES = [
    "猫と犬", "고양이", "قطة كبيرة", "חתול", "बिल्ली", "แมว", "ድመት", "🐈\u200d⬛ cat", "$\\frac{a}{b}$ $x",
    "two\nlines", "tab\there", "\u202egnorw", "e\u0301\u0323", "\u200bhidden", "\U000f0000", "",
]  # fmt: skip
IN_STIX_ALONE = "\u1d81"


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def no_other_fonts(monkeypatch):
    monkeypatch.setattr(style, "FALLBACK_FONTS", ())


@pytest.fixture
def study(rows):
    lines = [(prompt, 0, f"{label}", label, 0) for prompt in PROMPTS for label in range(len(NAMES))]
    return {"clean": rows("clean", *lines), PGD.name: rows(PGD.name, *lines)}


def test_figures_of_classes_draw_any_name(study):
    confusion = confusion_table(study[PGD.name], NAMES)
    figures = [
        gallery([sample_of("tiny", study, NAMES, [PGD], len(NAMES), pixels_of=pixels_of)]),
        classes_figure(classes_table(study, NAMES, [CLEAN, PGD]), ["tiny"], [CLEAN, PGD]),
        confusion_figure(confusion, {"tiny": NAMES}, PGD),
    ]
    assert all(figure.startswith(b"\x89PNG") for figure in figures)


def test_figures_of_words_draw_any_name():
    moved = pd.DataFrame(
        [(prompt, 0, name, 1.0, name, 0.0, 0.5) for prompt in PROMPTS[1:] for name in NAMES],
        columns=["prompt", "seed", "class", "cosine", "towards", "gain", "common"],
    )
    said = {
        "words": words_of(classes=NAMES[:1]).assign(start_word=NAMES[2]),
        "moves": moved,
        "cosines": cosines_of(NAMES),
        "plane": plane_of(len(NAMES)),
    }
    pictures = words_pictures({"tiny": said}, {"tiny": NAMES})
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures.values())


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("shoe é", "shoe é"), ("字", "U+5B57"), ("🐈", "U+1F408"), ("a$", "a$"), ("قطة", "قطة"),
        ("two\nlines", "twoU+000Alines"), ("\u202eabc", "U+202Eabc"),
    ],
)  # fmt: skip
def test_letters_that_no_font_has_are_told_by_number(name, drawn, no_other_fonts):
    assert drawable(name) == short(name) == drawn


def test_a_font_that_is_installed_draws_what_the_first_lacks(monkeypatch):
    assert not get_font(findfont(FONT)).get_char_index(ord(IN_STIX_ALONE))
    monkeypatch.setattr(style, "FALLBACK_FONTS", ("No Such Font", "STIXGeneral"))
    assert drawable(f"a{IN_STIX_ALONE}") == f"a{IN_STIX_ALONE}"
    with styled():
        figure = Figure()
        figure.text(0.5, 0.5, drawable(IN_STIX_ALONE))
        assert png(figure).startswith(b"\x89PNG")
