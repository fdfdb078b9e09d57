"""The page: escaped, self-contained, results first."""

import re
from html.parser import HTMLParser

from stages.report.facts import facts_table
from stages.report.page import SECTIONS, TEMPLATES
from tests.report.studies import HOSTILE


class Reader(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def test_every_text_is_escaped(html):
    """The verdict, tables, notes, captions, checks and facts; labels stand in every row."""
    reader = Reader()
    reader.feed(html)
    assert "script" not in reader.tags
    assert sum(text.count(HOSTILE) for text in reader.texts) > 30
    assert any(name == "alt" and value == f"{HOSTILE}. {HOSTILE}" for name, value in reader.attributes)
    assert any(name == "title" and HOSTILE in value for name, value in reader.attributes)


def test_the_page_needs_nothing_else(html):
    sources = [value for name, value in re.findall(r'(src|href|url)="?\(?([^"]*)', html)]
    links = [f"#{name}" for name in SECTIONS]
    assert sources[:1] == ["data:,"] and sources[1:-1] == links and sources[-1].startswith("data:image/png;base64,")
    assert "default-src 'none'" in html
    assert '<meta charset="utf-8">' in html and 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_the_verdict_is_first_then_results_figures_checks_facts(html):
    marks = ('class="verdict"', "<nav", 'class="results"', "<figure>", 'class="checks"', 'id="origins"')
    places = [html.index(mark) for mark in marks]
    assert places == sorted(places)


def test_every_link_leads_somewhere_and_every_part_that_scrolls_has_the_keyboard(html):
    assert re.findall('href="#([^"]*)"', html) == re.findall('<section id="([^"]*)"', html) == list(SECTIONS)
    wide = re.findall('<div class="wide"([^>]*)>', html)
    assert len(wide) == html.count("<table") + html.count("<img") == 4
    assert all(re.fullmatch(' role="region" tabindex="0" aria-label="[^"]+"', attributes) for attributes in wide)


def test_comparisons_have_a_mark_and_words(html):
    cells = re.findall(r'<td class="(\w+)" title="([^"]*)" aria-label="([^"]*)">(?:<b>)?(.)', html)
    assert {(kind, mark) for kind, *_, mark in cells} == {("gain", "▲"), ("loss", "▼"), ("noise", "≈")}
    assert len(cells) == 3 * (3 + 2) and all(label.endswith(title) for _, title, label, _ in cells)


def test_a_figure_names_its_file(html):
    assert "<small>(accuracy.png)</small></figcaption>" in html


def test_paper_is_white_whatever_the_screen_is():
    """The dark colours are for screens alone, and what is printed does not scroll."""
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    assert re.findall(r"@media ([^{]*) \{", css)[0] == "screen and (prefers-color-scheme: dark)"
    assert css.count("color-scheme: dark)") == 1
    assert ".wide { overflow: visible }" in css[css.index("@media print") :]


def test_shared_facts_are_stated_once():
    items = {"a": {"x": {"lr": 0.00001, "n": 3}, "notes": []}, "b": {"x": {"lr": 0.00001, "n": 4}, "notes": ["c", "d"]}}
    assert facts_table("Title", items).rows == [
        ("x.lr", "1e-05"), ("a", "x.n 3, notes none"), ("b", "x.n 4, notes c and d"),
    ]  # fmt: skip
    assert facts_table("One", {"a": {"x": None, "y": True}}).rows == [("a", "x null, y true")]
