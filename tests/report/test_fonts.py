"""Class names in scripts that the figures' font lacks: drawn by another font, or replaced; never a warning."""

import warnings

import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from stages.report import style
from stages.report.style import FONT, drawable, png, short, styled

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


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("shoe é", "shoe é"), ("字", "U+5B57"), ("🐈", "U+1F408"), ("a$", "a$"), ("قطة", "قطة"),
        ("two\nlines", "twoU+000Alines"), ("\u202eabc", "U+202Eabc"),
    ],
)  # fmt: skip
def test_letters_that_no_font_has_become_numbers(name, drawn, monkeypatch):
    monkeypatch.setattr(style, "FALLBACK_FONTS", ())
    assert drawable(name) == short(name) == drawn


def test_a_font_that_is_installed_draws_what_the_first_lacks(monkeypatch):
    assert not get_font(findfont(FONT)).get_char_index(ord(IN_STIX_ALONE))
    monkeypatch.setattr(style, "FALLBACK_FONTS", ("No Such Font", "STIXGeneral"))
    assert drawable(f"a{IN_STIX_ALONE}") == f"a{IN_STIX_ALONE}"
    with styled():
        figure = Figure()
        figure.text(0.5, 0.5, drawable(IN_STIX_ALONE))
        assert png(figure).startswith(b"\x89PNG")
