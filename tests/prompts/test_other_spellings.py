"""One name in two Unicode forms is one name."""

import unicodedata

import numpy as np
import pytest

from stages.datasets.card import Card
from stages.evaluation.predict import read_seeded_prompts
from stages.storage.notes import read_note, write_note
from stages.storage.prompts import PromptFile, save_prompts

NAMES = ["café", "Übung", "dog"]
DECOMPOSED = [unicodedata.normalize("NFD", name) for name in NAMES]
FACTS = {"name": "d", "template": "{}", "sha256": "0", "origin": "", "licence": "", "splits": "", "packed": False}


def test_hand_written_prompts_are_found_beside_those_of_the_same_names_in_another_form(tmp_path):
    for prompt, names in (("hand", NAMES), ("advpt", DECOMPOSED)):
        (tmp_path / prompt).mkdir()
        file = PromptFile(np.ones((1, 3, 2), np.float32), 1.0, names, "{}", {"prompt": prompt, "model": None})
        save_prompts(tmp_path / prompt / "prompts.safetensors", file)
    voices, _ = read_seeded_prompts(tmp_path / "advpt", 0)
    assert [voice.prompt for voice in voices] == ["hand", "advpt"]


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
