"""The model card: every fact and number in its place, every name as text, no sentence that nothing supports."""

import re
from dataclasses import replace
from importlib.util import find_spec

import pandas as pd
import pytest

from stages.report.inputs import Study
from stages.report.model_card import markdown, model_card
from stages.report.vocabulary import CLEAN, Threat
from stages.storage.card import Card
from tests.report.studies import CLASS_NAMES, METHODS, NAMES, PGD, THREATS

HOSTILE = "<script>alert(1)</script> | `x` [a](http://b.c) www.h.i **d** _e_ $f$ \\* &amp;\n# g \x1b[2J"
MODEL = {"name": "ViT-B-16", "pretrained": "openai", "sha256": "e" * 64}
MADE = {"dataset": "tiny", "study": "all", "model": MODEL}
BANK = {"method": "feature_pgd", "eps": 8.0, "steps": 10}
PROVENANCES = {
    "zero_shot": {**MADE, "block": {"templates": "dataset"}},
    "coop": {**MADE, "block": {"context_length": 16, "init_words": None, "lr": 0.00001}},
    "advpt": {**MADE, "block": {"context_length": 4}, "attack": BANK},
    "refreshed": {**MADE, "block": {"rounds": 3, "eps": [1.0, 2.0]}},
}


def card_of(text):
    facts = dict.fromkeys(("origin", "licence", "splits"), text)
    return Card(name="tiny", class_names=["a", "b"], template="{}", sha256="d" * 64, packed=False, notes=[], **facts)


STUDY = Study("tiny", "all", card_of("a book"), CLASS_NAMES, METHODS, THREATS, PROVENANCES, pd.DataFrame(), {}, {})


def rows_of(text):
    """The cells of all table rows, by their first."""
    rows = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return {cells[0]: cells[1:] for cells in (row.split(" | ") for row in rows)}


def test_facts_are_beside_their_names(results):
    rows = rows_of(model_card(replace(STUDY, class_names=["cat", "dog"]), results, []))
    assert rows["classes"] == ["2: cat, dog"]
    assert rows["data"] == [f"a book; splits: a book; sha256 {'d' * 64}"]
    assert rows["model"] == ["ViT-B-16, openai"] and rows["its sha256"] == ["e" * 64]
    assert rows["AdvPT"] == [
        r"data/prompts/tiny/all/tune\_bank/advpt", "tiny", r"context\_length 4",
        r"method feature\_pgd, eps 8, steps 10",
    ]  # fmt: skip
    assert rows["CoOp"][2] == r"context\_length 16, init\_words null, lr 1e-05"
    assert rows["AdvPT refreshed"][2] == "rounds 3, eps 1 and 2"
    assert "its image tower" not in rows


def test_another_image_tower_is_named(results):
    tower = {"visual_weights": "tecoa.pt", "visual_sha256": "f" * 64}
    made = {name: one | {"model": MODEL | tower} for name, one in PROVENANCES.items()}
    rows = rows_of(model_card(replace(STUDY, provenances=made), results, []))
    assert rows["its image tower"] == ["tecoa.pt"] and rows["sha256 of the image tower"] == ["f" * 64]


def test_every_accuracy_has_its_n_and_its_interval(results):
    lines = re.findall(r"^\| (?:clean|pgd\\_eps8|knowing):.*$", model_card(STUDY, results, []), re.MULTILINE)
    assert len(lines) == len(THREATS) * len(METHODS)
    assert lines[0] == "| clean: the images as they are |  | 100 | hand-written | 90.0 (85.0-95.0) | 90.0 |"
    assert lines[6] == (
        r"| pgd\_eps8: feature pgd, eps 8/255, 40 steps | oblivious | 100 | AdvPT | 50.0 ± 1.0 (45.0-55.0) | 70.0 |"
    )
    assert lines[10].endswith("| adaptive | 30† | AdvPT | 12.0 (7.0-17.0) | 55.0 |")


def test_without_an_adaptive_threat_it_says_so(results):
    assert "No adaptive threat was run" not in model_card(STUDY, results, [])
    assert "No adaptive threat was run: nothing" in model_card(STUDY, replace(results, threats=[CLEAN, PGD]), [])


def test_contexts_that_moved_say_where_they_were_tuned(results):
    moved = {"advpt": {**MADE, "tuned": {**PROVENANCES["advpt"], "dataset": "big"}}}
    moved["coop"] = {**MADE, "tuned": {**PROVENANCES["coop"], "study": "base"}}
    rows = rows_of(model_card(replace(STUDY, name="big", provenances={**PROVENANCES, **moved}), results, []))
    assert rows["AdvPT"][0] == r"data/prompts/tiny/big/tune\_bank/advpt"
    assert rows["AdvPT"][1:] == ["big", r"context\_length 4", r"method feature\_pgd, eps 8, steps 10"]
    assert rows["CoOp"][1] == "tiny, base classes"


def test_names_are_text(results):
    model = dict.fromkeys(("name", "pretrained", "sha256"), HOSTILE)
    made = {
        "dataset": HOSTILE,
        "study": HOSTILE,
        "model": model,
        "block": {HOSTILE: HOSTILE},
        "attack": {"a": HOSTILE},
    }
    methods = [method._replace(label=HOSTILE) for method in METHODS]
    threats = [CLEAN, PGD, Threat("knowing", "adaptive", {"method": HOSTILE, "eps": 8.0})]
    study = replace(
        STUDY, class_names=[HOSTILE], card=card_of(HOSTILE), provenances=dict.fromkeys(NAMES, made), methods=methods
    )
    card = model_card(study, replace(results, title=HOSTILE, methods=methods, threats=threats), [HOSTILE])
    part = card[: card.index("## Limits")].replace("[16]", "")
    assert part.count(markdown(HOSTILE)) >= 40
    assert not re.search(r"<|\x1b|^# g|(?<!\\)[`$\[]|(?<!\\):(?=//)|(?<!\\)_e|(?<!\\)\*d", part, re.MULTILINE)


@pytest.mark.skipif(find_spec("markdown_it") is None, reason="no Markdown parser here (markdown-it-py)")
def test_a_markdown_parser_reads_them_as_text():
    from markdown_it import MarkdownIt

    parser = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    (_, paragraph, _) = parser.parse(f"Seen: {markdown(HOSTILE)}")
    assert {child.type for child in paragraph.children} == {"text"}
    assert paragraph.children[0].content == "Seen: " + HOSTILE.replace("\n", r"\n").replace("\x1b", r"\x1b")
