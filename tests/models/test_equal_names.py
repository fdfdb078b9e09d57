"""Class names that a tokenizer makes equal are refused, whichever tokenizer it is, wherever text features are made."""

import re
import unicodedata
from functools import partial

import open_clip
import pytest
import torch

from stages.models.context import assemble, handwritten
from stages.models.text_tower import TextTower
from stages.prompts.templates import openai_templates
from tests.models.random_models import KINDS, random_model

MODEL = random_model(KINDS["vit_b_32"][0]).requires_grad_(False)
NFC, NFD = (unicodedata.normalize(form, "café au lait") for form in ("NFC", "NFD"))
EQUAL = [
    ("cat", "cat"),
    ("Crane", "crane"),
    ("cat", "cat "),
    ("sea lion", "sea_lion"),
    ("sea lion", " sea \t lion"),
    ("sea lion", "sea\u00a0lion"),
    ("caf&eacute;", "café"),
    ("AT&T", "AT&amp;amp;T"),
    (NFC, NFD),
    ("ﬁsh", "fish"),
    ("ＦＩＳＨ", "fish"),
    ("McDonald\u2019s", "McDonald's"),
    ("schÃ¶n", "schön"),  # UTF-8 that was read as Latin-1, which ftfy mends
]
EQUAL_WITHOUT_PUNCTUATION = [
    ("T-shirt/top", "tshirttop"),
    ("dahlia?", "dahlia"),
    ("St. Bernard", "st bernard"),
]


def tower(clean: str = "lower") -> TextTower:
    return TextTower(MODEL, open_clip.SimpleTokenizer(clean=clean))


def encode_behind_context(names: list[str], tower: TextTower, *, position: str = "end", specific: bool = False) -> None:
    assemble(names, tower, context_length=4, class_position=position, class_specific=specific)


encode_by_template = partial(handwritten, "a photo of a {}.")
WAYS = {
    "template": encode_by_template,
    "ensemble": partial(handwritten, openai_templates()),
    "behind a context": encode_behind_context,
    "in the middle": partial(encode_behind_context, position="middle"),
    "in front of own contexts": partial(encode_behind_context, position="front", specific=True),
}


@pytest.mark.parametrize("encode", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("clean", "pairs"),
    [("lower", EQUAL), ("canonicalize", [*EQUAL, *EQUAL_WITHOUT_PUNCTUATION])],
    ids=["lower", "canon"],
)
def test_names_with_the_same_tokens_are_refused_with_both_of_them(encode, clean, pairs):
    text_tower = tower(clean)
    for pair in pairs:
        first, second = pair
        with pytest.raises(ValueError, match="makes the same tokens of both names") as caught:
            encode(["dog", first, "cow", second], text_tower)
        said = str(caught.value)
        assert "dog" not in said and "cow" not in said
        assert all(repr(name) in said or ascii(name) in said for name in pair)


@pytest.mark.parametrize("clean", ["lower", "whitespace"])
def test_names_that_differ_in_their_tokens_are_not_refused(clean):
    names = ["cat", "cats", "T-shirt/top", "Tshirt", "dahlia?", "dahlia", "cafe", "café"]
    for encode in WAYS.values():
        encode([*names, "Cat"] if clean == "whitespace" else names, tower(clean))


def test_two_spellings_that_look_alike_are_told_apart():
    with pytest.raises(ValueError, match=re.escape(r"'caf\xe9 au lait' and 'cafe\u0301 au lait'")):
        encode_by_template([NFC, NFD], tower())


@pytest.mark.parametrize(
    ("clean", "name"), [("lower", " "), ("lower", "_"), ("lower", "&nbsp;"), ("canonicalize", "?!")]
)
def test_a_name_of_which_nothing_is_left_is_refused(clean, name):
    text_tower = tower(clean)
    for encode in WAYS.values():
        with pytest.raises(ValueError, match=r"class .*the model's tokenizer leaves nothing of this name"):
            encode(["dog", name], text_tower)


def test_names_that_differ_behind_the_last_place_of_the_tower_are_too_long_and_never_cut():
    long = " ".join(["fish"] * 75)
    with pytest.raises(ValueError, match="the text tower takes 77"):
        encode_by_template([f"{long} cat", f"{long} dog"], tower())


@torch.no_grad()
def test_what_is_refused_would_have_had_the_same_features():
    tokenizer = open_clip.SimpleTokenizer()
    for pair in EQUAL:
        first, second = MODEL.encode_text(tokenizer([f"a photo of a {name.replace('_', ' ')}." for name in pair]))
        assert torch.equal(first, second)
