"""One name in two Unicode forms is one name."""

import unicodedata

import pytest

from stages.storage.card import Card
from stages.storage.notes import read_note, write_note

NAMES = ["café", "Übung", "dog"]
DECOMPOSED = [unicodedata.normalize("NFD", name) for name in NAMES]
FACTS = {"name": "d", "template": "{}", "sha256": "0", "origin": "", "licence": "", "splits": "", "packed": False}


def test_a_card_has_one_form_of_each_name_and_each_name_once():
    assert NAMES != DECOMPOSED
    assert Card(class_names=DECOMPOSED, notes=[], **FACTS).class_names == NAMES
    with pytest.raises(ValueError, match="two classes are called 'café'"):
        Card(class_names=[NAMES[0], DECOMPOSED[0]], notes=[], **FACTS)


def test_a_note_with_a_byte_order_mark_is_refused_by_name(tmp_path):
    path = tmp_path / "note.json"
    write_note(path, {"class_names": NAMES})
    assert read_note(path) == {"class_names": NAMES}
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(ValueError, match=r"note\.json: damaged, .*delete it and run `dvc repro`"):
        read_note(path)
