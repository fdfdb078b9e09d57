"""The page: escaped, self-contained, results first."""

import re
from html.parser import HTMLParser

import pytest

from stages.report.assessment import Check, assessment_list, assessment_table
from stages.report.findings import findings
from stages.report.origins import datasets_table, prompts_table, threats_table
from stages.report.page import Picture, page
from stages.report.results_table import results_table

HOSTILE = '"><script>alert(1)</script>&'


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


@pytest.fixture
def html(results, threats):
    renamed = {(HOSTILE, *key[1:]): line._replace(dataset=HOSTILE) for key, line in results.items()}
    made_by = {name: {"model": {"name": HOSTILE}, "tune": {"lr": 0.01}, HOSTILE: None} for name in ("hand", "advpt")}
    made_by["hand"]["template"], made_by["advpt"]["template"] = HOSTILE, "[16] {}."
    return page(
        [],
        [results_table(renamed, HOSTILE, threats)],
        [[*findings(renamed, HOSTILE, threats), HOSTILE]],
        [Picture(b"png", HOSTILE, HOSTILE)],
        assessment_list(assessment_table({HOSTILE: [Check(HOSTILE, "fail", HOSTILE)]})),
        [datasets_table({HOSTILE: {"source": HOSTILE}}), prompts_table(HOSTILE, made_by), threats_table(threats)],
    )


def test_every_text_is_escaped(html):
    reader = Reader()
    reader.feed(html)
    assert "script" not in reader.tags
    assert reader.texts.count(HOSTILE) == 10
    assert any(name == "alt" and value == f"{HOSTILE}. {HOSTILE}" for name, value in reader.attributes)


def test_the_page_needs_nothing_else(html):
    sources = [value for name, value in re.findall(r'(src|href|url)="?\(?([^"]*)', html)]
    assert sources == ["data:image/png;base64,cG5n"]
    assert '<meta charset="utf-8">' in html and 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_results_stand_before_figures_before_origins(html):
    places = [html.index(mark) for mark in ('class="results"', "<figure>", "What made them")]
    assert places == sorted(places)


def test_a_threat_row_holds_every_number(results, threats):
    clean, oblivious, adaptive = re.findall(r'<tr><th scope="row">.*?</tr>', results_table(results, "tiny", threats))
    cells = [re.sub("<[^>]*>", " ", cell).split() for cell in re.findall("<td.*?</td>", oblivious)]
    assert cells[:3] == [["8/255"], ["100"], ["30.0", "[25.0,", "35.0]", "1", "seed"]]
    assert cells[4] == ["▲", "50.0", "[45.0,", "55.0]", "±", "1.0", "over", "3", "seeds"]
    assert cells[5:] == [["+20.0", "gain"], ["+19.0", "gain"]]
    assert "−20.0</b><small>loss" in clean
    assert adaptive.count("<small>within noise") == 2 and "<td>30</td>" in adaptive


def test_marks_say_in_words_how_a_tuned_prompt_stands_to_the_hand_written(results, threats):
    html = results_table(results, "tiny", threats)
    marks = re.findall(r'<span class="(\w+)" role="img" aria-label="([^"]*)" title="([^"]*)">(.)</span>', html)
    assert [(kind, mark) for kind, _, _, mark in marks] == [
        ("noise", "≈"), ("loss", "▼"), ("noise", "≈"), ("gain", "▲"), ("noise", "≈"), ("noise", "≈")
    ]  # fmt: skip
    assert all(label == title for _, label, title, _ in marks)
    assert [label for _, label, _, _ in marks[:2]] == [
        "within noise of hand-written (p = 0.25)",
        "worse than hand-written (p &lt; 0.001)",
    ]
    assert "▲ better than hand-written, ▼ worse than hand-written, ≈ within noise of hand-written</small>" in html


def test_what_the_attacker_knows_heads_its_threats(results, threats):
    html = results_table(results, "tiny", threats)
    order = ["crafted without the prompts", "pgd_eps8", "crafted through the very prompt under test", "knowing"]
    assert sorted(order, key=html.index) == order
