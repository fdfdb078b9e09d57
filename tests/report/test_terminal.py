"""Predictions on a terminal: at most 80 columns, the likeliest class first, nothing that a terminal would obey."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from rich.cells import cell_len

from stages.report.terminal import as_json, as_table


def prediction(method, classes, *, seeds=1):
    prompts = SimpleNamespace(text_features=np.zeros((seeds, 2, 2)))
    probabilities = [0.9, 0.05, 0.01][: len(classes)]
    voice = SimpleNamespace(prompt=method, seed=0, prompts=prompts)
    return SimpleNamespace(voice=voice, classes=classes, probabilities=probabilities)


def test_a_table_has_a_column_for_each_method():
    both = [prediction("zero_shot", ["bag", "coat"]), prediction("advpt", ["coat", "bag"], seeds=3)]
    first, heads, one, two, end = as_table(Path("a.png"), (32, 32), 32, both).split("\n")
    assert (first, end) == ("a.png", "") and heads.split() == ["zero_shot", "advpt,", "tuning", "seed", "0"]
    assert one.split() == ["1", "bag", "90.0%", "coat", "90.0%"]
    assert two.split() == ["2", "coat", "5.0%", "bag", "5.0%"]


def test_an_image_of_another_size_says_so():
    answers = [prediction("zero_shot", ["bag"])]
    assert as_table(Path("a.png"), (16, 64), 32, answers).startswith("a.png (16 x 64 px, enlarged to 32 x 32)\n")
    assert as_table(Path("a.png"), (64, 64), 32, answers).startswith("a.png (64 x 64 px, reduced to 32 x 32)\n")


def test_long_wide_and_hostile_names_fit_as_text():
    """Markup of rich, escapes of a terminal, letters that take two places."""
    names = ["[bold red]x[/] \x1b[2J" * 4, "猫" * 60, "\u202e" + "y" * 90]
    table = as_table(Path("\x1b[2J.png"), (8, 8), 8, [prediction(names[0], names), prediction("b", names)])
    lines = table.split("\n")
    assert all(line.isprintable() and cell_len(line) <= 80 for line in lines)
    assert "[bold red]x[/]" in table and r"\x1b[2J" in table and "…" in table
    assert [line.count("%") for line in lines] == [0, 0, 2, 2, 2, 0]


def test_json_names_method_seed_and_classes():
    found = json.loads(as_json(Path("a.png"), (8, 9), 8, [prediction("advpt", ["bag"])]))
    assert found == {
        "path": "a.png", "size": [8, 9], "model_size": 8,
        "predictions": [{"method": "advpt", "seed": 0, "classes": ["bag"], "probabilities": [0.9]}],
    }  # fmt: skip
