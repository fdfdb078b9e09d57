"""The page: escaped, self-contained, results first."""

import re

import pytest

from stages.report.facts import facts_table
from stages.report.page import TEMPLATES
from stages.report.vocabulary import CLEAN
from tests.browser import Document
from tests.report.studies import HOSTILE, page_of

SECTIONS = ["results", "figures", "trust", "origins"]


@pytest.fixture(scope="module")
def html():
    """A page on which every text is hostile."""
    return page_of(4, text=HOSTILE)


def test_every_text_is_escaped(html):
    """Captions, cautions, verdict, tables, checks and facts; labels stand in every row."""
    document = Document(html)
    assert "script" not in document.tags and document.text.count(HOSTILE) > 50
    attributes = dict.fromkeys(name for name, value in document.attributes if value and HOSTILE in value)
    assert {"alt", "title", "aria-label"} <= set(attributes)


def test_the_page_needs_nothing_else(html):
    sources = [value for name, value in re.findall(r'(src|href|url)="?\(?([^"]*)', html)]
    assert sources[:1] == ["data:,"] and sources[1:-1] == [f"#{name}" for name in SECTIONS]
    assert sources[-1].startswith("data:image/png;base64,") and "default-src 'none'" in html
    assert '<meta charset="utf-8">' in html and 'name="viewport"' in html


def test_cautions_are_first_then_methods_figures_checks_facts(html):
    marks = ('class="caution"', "<nav", 'class="methods"', "<figure>", 'class="checks"', 'id="origins"')
    places = [html.index(mark) for mark in marks]
    assert places == sorted(places)


def test_every_link_leads_somewhere_and_every_part_that_scrolls_has_the_keyboard(html):
    assert re.findall('href="#([^"]*)"', html) == re.findall('<section id="([^"]*)"', html) == SECTIONS
    wide = re.findall('<div class="wide"([^>]*)>', html)
    assert len(wide) == html.count("<table") - html.count('<table class="methods"') + html.count("<img")
    assert all(re.fullmatch(' role="region" tabindex="0" aria-label="[^"]+"', attributes) for attributes in wide)


def test_a_page_without_threats_says_what_is_not_known():
    html = page_of(4, threats=[CLEAN])
    assert html.count('class="methods"') == 2 and "nothing is known about attackers who know the method" in html


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "gain", "loss"])
@pytest.mark.parametrize("ground", ["paper", "oblivious", "adaptive"])
def test_text_can_be_read_on_every_ground(theme, ink, ground):
    """WCAG 2.2, level AA: a contrast of 4.5."""
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): (#\w+)", css.split(":root")[1 + theme]))
    dark, light = sorted((luminance(colours[ink]), luminance(colours[ground])))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_shared_facts_are_stated_once():
    items = {"a": {"x": {"lr": 0.00001, "n": 3}, "notes": []}, "b": {"x": {"lr": 0.00001, "n": 4}, "notes": ["c", "d"]}}
    assert facts_table("Title", items).rows == [
        ("x.lr", "1e-05"), ("a", "x.n 3, notes none"), ("b", "x.n 4, notes c and d"),
    ]  # fmt: skip
    assert facts_table("One", {"a": {"x": None, "y": True}}).rows == [("a", "x null, y true")]
