"""The card of a data set: round trip, damage."""

from pathlib import Path

import pytest

from stages.datasets.card import Card
from stages.datasets.card_file import path_of_card, read_card, write_card

CARD = Card(
    name="d",
    class_names=['ä "quoted"', "under_score", '"seal": "'],
    template="a photo of a {}.",
    sha256="0" * 64,
    origin="here",
    licence="none",
    splits="none",
    packed=False,
    notes=["a note"],
)


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """A stored card."""
    monkeypatch.chdir(tmp_path)
    path = path_of_card("d")
    path.parent.mkdir(parents=True)
    write_card(path, CARD)
    return path


def test_a_card_comes_back_as_it_was(path):
    assert read_card("d") == CARD


def test_a_changed_card_is_named(path):
    path.write_text(path.read_text(encoding="utf-8").replace("a photo of a", "a picture of a"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"data/cards/d\.json: damaged"):
        read_card("d")


def test_a_missing_card_says_what_makes_it(path):
    path.unlink()
    with pytest.raises(ValueError, match=r"data/cards/d\.json: missing; `dvc repro`"):
        read_card("d")
