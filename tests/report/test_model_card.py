"""The model card: every fact and number in its place, every name as text, no sentence that nothing supports."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from stages.report.markdown import markdown

from stages.report.model_card import CITATION, model_card
from stages.report.vocabulary import CLEAN, Threat
from tests.report.conftest import PGD
from tests.report.test_classes import many

HOSTILE = "<script>alert(1)</script> | `x` [a](http://b.c) www.h.i **d** _e_ $f$ \\* &amp;\n# g \x1b[2J"
FACTS = {"sha256": "d" * 64, "origin": "a book", "licence": "CC BY 4.0", "splits": "the official ones"}
MADE_BY = {
    "advpt": {
        "dataset": "tiny",
        "model": {"name": "ViT-B-16", "pretrained": "openai", "sha256": "e" * 64},
        "attack": {"method": "feature_pgd", "eps": 8.0, "steps": 10},
        "tune": {"context_length": 16, "init_words": None, "lr": 0.00001},
        "part": None,
    },
    "advpt_refreshed": {
        "dataset": "tiny",
        "refresh": {"start": "hand", "rounds": 3, "eps": [1.0, 2.0], "tune": {"epochs": 50}},
        "tune": {"context_length": 4, "epochs": 50},
    },
}


@pytest.fixture
def card(results, threats, class_names):
    """Makes the card of the tiny study, some arguments replaced."""

    def make(**other):
        told = {"facts": FACTS, "class_names": class_names, "made_by": MADE_BY, "results": results, "threats": threats}
        told["classes"] = many(2).assign(**{"class": "a &amp; b"})
        return model_card("tiny", **{**told, **other})

    return make


def lines_of(text: str) -> dict[str, str]:
    """The rows of two columns, by their first."""
    return dict(re.findall(r"^\| ([\w ]+) \| (.*) \|$", text, re.MULTILINE))


def test_facts_stand_beside_their_names(card):
    lines = lines_of(card(class_names=["cat", "dog"]))
    assert lines["classes"] == "2: cat, dog"
    assert lines["data"] == f"a book; splits: the official ones; sha256 {'d' * 64}"
    assert lines["licence of the data"] == "CC BY 4.0"
    assert lines["model"] == "ViT-B-16, openai" and lines["its sha256"] == "e" * 64
    assert lines["tuned on"] == "tiny"
    assert lines["tuned against"] == r"method feature\_pgd, eps 8, steps 10; eps in 1/255 of the pixel range"
    assert lines["refreshed"] == "start hand, rounds 3, eps 1 and 2; eps in 1/255 of the pixel range"
    assert lines["tuning in each round"] == r"context\_length 4, epochs 50"
    assert lines["prompts"] == "data/prompts/tiny/advpt, data/prompts/tiny/advpt\\_refreshed, data/prompts/tiny/coop"
    assert lines["tuning"] == r"context\_length 16, init\_words None, lr 1e-05"


def test_every_accuracy_has_its_n_and_its_interval(card):
    clean, oblivious, adaptive = re.findall(r"^\| (?:clean|pgd\\_eps8|knowing):.*$", card(), re.MULTILINE)
    assert clean.split(" | ")[1:3] == ["", "100"]
    assert oblivious == (
        r"| pgd\_eps8: feature pgd, eps 8/255, 40 steps | oblivious | 100 | 30.0 (25.0-35.0) | "
        "31.0 ± 1.0 (26.0-36.0) | 50.0 ± 1.0 (45.0-55.0) | 35.0 ± 1.0 (30.0-40.0) |"
    )
    assert adaptive.split(" | ")[1:5] == [
        "adaptive", "30†", "10.0 (5.0-15.0), clean 75.0", "10.0 (5.0-15.0), clean 75.0"
    ]  # fmt: skip
    assert adaptive.split(" | ")[5:] == ["12.0 (7.0-17.0), clean 55.0", "20.0 (15.0-25.0), clean 70.0 |"]
    assert "\n- † 30 of 100 test images, a class-balanced draw; " in card()
    assert "†" not in card(threats=[CLEAN, PGD])


def test_every_tuned_prompt_names_the_class_that_it_loses_most_on(card):
    told = card()
    assert "\n- clean, by class: AdvPT loses most on “a &amp; b”: 0.0 % instead of 50.0 % (n = 50).\n" in told
    assert "\n- clean, by class: CoOp loses on no class.\n" in told
    assert "\n- clean, by class: AdvPT refreshed loses on no class.\n" in told


def test_what_an_adaptive_attacker_leaves_is_said(card):
    assert "Against an attacker who knows the prompt no gain is left that could be told from noise." in card()
    assert "No adaptive threat was run: nothing here says" not in card()
    told = card(threats=[CLEAN, PGD])
    assert "No adaptive threat was run: nothing here says" in told and "| adaptive |" not in told


def test_contexts_that_moved_say_where_they_were_tuned(card):
    moved = {"dataset": "tiny", "model": MADE_BY["advpt"]["model"], "tuned": {**MADE_BY["advpt"], "dataset": "big"}}
    refreshed = {"dataset": "tiny", "tuned": MADE_BY["advpt_refreshed"]}
    lines = lines_of(card(made_by={"advpt": moved, "advpt_refreshed": refreshed}))
    assert lines["tuned on"] == "big" and lines["refreshed"].startswith("start hand, rounds 3, ")
    half = {**MADE_BY, "advpt": {**MADE_BY["advpt"], "part": "base"}}
    assert lines_of(card(made_by=half))["tuned on"] == "tiny, the part base of its classes"


def test_of_many_classes_the_first_are_named(card):
    told = lines_of(card(class_names=[f"c{index}" for index in range(1000)]))["classes"]
    assert told.startswith("1000: c0, c1") and told.endswith("c19 and 980 more")


def test_the_card_has_all_its_parts_in_order(card):
    told = card()
    heads = re.findall("^##? (.*)$", told, re.MULTILINE)
    assert heads == ["Model card: AdvPT prompts, tiny", "Results", "Limits", "Licence", "Citation"]
    assert max(map(len, (line for line in told.splitlines() if not line.startswith(("|", "-"))))) <= 120


def test_names_are_text(card, class_names):
    facts = dict.fromkeys(FACTS, HOSTILE)
    model = dict.fromkeys(("name", "pretrained", "sha256"), HOSTILE)
    made_by = {"advpt": {**MADE_BY["advpt"], "model": model, "dataset": HOSTILE, "tune": {HOSTILE: HOSTILE}}}
    made_by["advpt_refreshed"] = {"refresh": {HOSTILE: HOSTILE}, "tune": {HOSTILE: HOSTILE}}
    threats = [CLEAN, PGD, Threat("knowing", "adaptive", {"method": HOSTILE, "eps": 8.0})]
    whole = card(facts=facts, class_names=[HOSTILE, *class_names], made_by=made_by, threats=threats)
    told = whole[whole.index("| | |") : whole.index("## Limits")]
    assert told.count(markdown(HOSTILE)) == 15
    assert not re.search(r"<|\x1b|^# g|(?<!\\)[`$\[]|(?<!\\):(?=//)|(?<!\\)_e|(?<!\\)\*d", told, re.MULTILINE)


@pytest.mark.skipif(find_spec("markdown_it") is None, reason="no Markdown parser here (markdown-it-py)")
def test_a_markdown_parser_reads_them_as_text():
    from markdown_it import MarkdownIt

    parser = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    (_, paragraph, _) = parser.parse(f"Seen: {markdown(HOSTILE)}")
    assert {child.type for child in paragraph.children} == {"text"}
    assert paragraph.children[0].content == "Seen: " + HOSTILE.replace("\n", r"\n").replace("\x1b", r"\x1b")


def test_the_citation_is_that_of_the_citation_file():
    paper = YAML(typ="safe").load(Path("CITATION.cff"))["preferred-citation"]
    authors = " and ".join(f"{who['family-names']}, {who['given-names']}" for who in paper["authors"])
    found = {key: " ".join(value.split()) for key, value in re.findall(r"(\w+) += \{([^}]*)\}", CITATION)}
    assert (found["title"], found["author"]) == (paper["title"], authors)
    assert found["year"] == str(paper["year"]) and found["booktitle"] == paper["conference"]["name"]
    assert paper["identifiers"][0]["value"] == f"arXiv:{found['eprint']}"
