"""The page: escaped, self-contained, results first."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from stages.report.origins import datasets_table
from stages.report.page import LEADS, SECTIONS
from stages.report.results_table import results_table
from stages.report.stylesheet import STYLE
from tests.report.conftest import HOSTILE, PROMPTS


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
    reader = Reader()
    reader.feed(html)
    assert "script" not in reader.tags
    assert reader.texts.count(HOSTILE) == 12 and f" {HOSTILE}" in reader.texts
    assert any(name == "alt" and value == f"{HOSTILE}. {HOSTILE}" for name, value in reader.attributes)


def test_the_page_needs_nothing_else(html):
    sources = [value for name, value in re.findall(r'(src|href|url)="?\(?([^"]*)', html)]
    links = [f"#{name}" for name in SECTIONS]
    assert sources[:1] == ["data:,"] and sources[1:-1] == links and sources[-1].startswith("data:image/png;base64,")
    assert "default-src 'none'" in html
    assert '<meta charset="utf-8">' in html and 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_the_verdict_stands_first_then_results_figures_origins(html):
    marks = (
        'class="verdict"',
        "<nav",
        'class="results"',
        "<figure>",
        'class="checks"',
        'class="costs"',
        ">the threats<",
    )
    places = [html.index(mark) for mark in marks]
    assert places == sorted(places)
    assert all(f"<b>{lead}</b>" in html for lead in LEADS[:4]) and LEADS[4] not in html


def test_every_link_leads_somewhere_and_every_part_that_scrolls_has_the_keyboard(html):
    assert re.findall('href="#([^"]*)"', html) == re.findall('<section id="([^"]*)"', html) == list(SECTIONS)
    wide = re.findall('<div class="wide"([^>]*)>', html)
    assert len(wide) == html.count("<table") + html.count("<img") == 7
    assert all(re.fullmatch(' role="region" tabindex="0" aria-label="[^"]+"', attributes) for attributes in wide)


def test_a_figure_says_in_which_file_it_is_too(html):
    assert "<small>(accuracy.png)</small></figcaption>" in html


def test_paper_is_white_whatever_the_screen_is():
    """The dark colours are for screens alone, and what is printed does not scroll."""
    assert re.findall(r"@media ([^{]*) \{", STYLE)[0] == "screen and (prefers-color-scheme: dark)"
    assert STYLE.count("color-scheme: dark)") == 1
    assert ".wide { overflow: visible }" in STYLE[STYLE.index("@media print") :]


def test_no_notes_read_as_none():
    assert '<td colspan="1">none</td>' in datasets_table({"fashion": {"notes": []}})
    assert '<td colspan="1">[&quot;a&quot;]</td>' in datasets_table({"fashion": {"notes": ["a"]}})


def test_a_threat_row_holds_every_number(results, threats):
    clean, oblivious, adaptive = re.findall(r'<tr><th scope="row">.*?</tr>', results_table(results, "tiny", threats))
    cells = [re.sub("<[^>]*>", " ", cell).split() for cell in re.findall("<td.*?</td>", oblivious)]
    assert cells[:3] == [["8/255"], ["100"], ["30.0", "[25.0,", "35.0]", "1", "seed"]]
    assert cells[4] == ["▲", "50.0", "[45.0,", "55.0]", "±", "1.0", "3", "seeds"]
    assert cells[5] == ["≈", "35.0", "[30.0,", "40.0]", "±", "1.0", "3", "seeds"]
    assert cells[6:8] == [["+20.0", "gain"], ["+19.0", "gain"]]
    assert cells[8:] == [["+5.0", "within", "noise"], ["−15.0", "within", "noise"]]
    assert re.findall("<b>([+−].*?)</b><small>(.*?)<", clean) == [
        ("−20.0", "loss"), ("−20.0", "loss"), ("−5.0", "loss"), ("+15.0", "gain")
    ]  # fmt: skip
    assert adaptive.count("<small>within noise") == 2 and "<td>30†</td>" in adaptive
    assert re.findall("<b>([+−].*?)</b><small>gain", adaptive) == ["+10.0", "+8.0"]


def test_a_subset_is_marked_and_has_its_own_clean_accuracy_beside_it(results, threats):
    html = results_table(results, "tiny", threats)
    clean, oblivious, adaptive = re.findall(r'<tr><th scope="row">.*?</tr>', html)
    assert re.findall("<br>(clean .*?)</small>", adaptive) == ["clean 75.0", "clean 75.0", "clean 55.0", "clean 70.0"]
    assert "<br>clean" not in clean + oblivious and "†" not in clean + oblivious
    assert html.endswith(
        "<p>† 30 of 100 test images, a class-balanced draw; “clean” is the accuracy on these images without attack, of "
        "the same prompts and tuning seeds.</p>"
    )
    assert "†" not in results_table(results, "tiny", threats[:2])


def test_two_subsets_stand_in_one_footnote(results, threats, line):
    other = replace(threats[2], name="other")
    lines = {("tiny", "other", prompt): line(other, prompt, 0.1, n=20, clean=0.5) for prompt in PROMPTS}
    assert "<p>† 20 or 30 of 100 test images" in results_table(results | lines, "tiny", [*threats, other])


def test_every_difference_says_between_which_prompts(results, threats):
    html = results_table(results, "tiny", threats)
    heads = re.findall('<th scope="col">(.*?)</th>', html)
    assert heads[3:7] == ["hand-written", "CoOp", "AdvPT", "AdvPT refreshed"]
    assert heads[7:9] == ["AdvPT − hand-written", "AdvPT − CoOp"]
    assert heads[9:] == ["AdvPT refreshed − hand-written", "AdvPT refreshed − AdvPT"]
    assert set(re.findall('colspan="(.*?)"', html)) == {str(len(heads))}


def test_marks_say_in_words_how_a_tuned_prompt_stands_to_the_hand_written(results, threats):
    html = results_table(results, "tiny", threats)
    marks = re.findall(r'<span class="(\w+)" role="img" aria-label="([^"]*)" title="([^"]*)">(.)</span>', html)
    assert [(kind, mark) for kind, _, _, mark in marks] == [
        ("noise", "≈"), ("loss", "▼"), ("loss", "▼"),
        ("noise", "≈"), ("gain", "▲"), ("noise", "≈"),
        ("noise", "≈"), ("noise", "≈"), ("gain", "▲"),
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
