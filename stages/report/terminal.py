"""Answers on a terminal: a table of at most 80 columns, or JSON; nothing in either that a terminal would obey."""

import json
import unicodedata
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

from stages.evaluation.predict import PromptPrediction
from stages.runtime.cli import visible

NAME = 27  # places of a line for a class name: with rank, percentages and a second prompt, 76


def as_json(path: Path, size: tuple[int, int], model_size: int, answers: list[PromptPrediction]) -> str:
    """One image on one line: its path and size, then the classes and probabilities of each prompt."""
    told = [
        {
            "method": answer.method,
            "seed": answer.seed,
            "classes": answer.classes,
            "probabilities": [round(probability, 6) for probability in answer.probabilities],
        }
        for answer in answers
    ]
    return json.dumps({"path": str(path), "size": size, "model_size": model_size, "answers": told})


def as_table(path: Path, size: tuple[int, int], model_size: int, answers: list[PromptPrediction]) -> str:
    """One image as a few lines: a column for each prompt, the likeliest class first."""
    places = NAME + 8
    lines = [f"{visible(str(path))}{fitted(size, model_size)}"]
    lines.append("    " + "  ".join(column(visible(answer.label), places) for answer in answers).rstrip())
    pairs = [list(zip(answer.classes, answer.probabilities, strict=True)) for answer in answers]
    for rank in range(max(map(len, pairs))):
        cells = [f"{column(visible(name), NAME)}{share:8.1%}" for name, share in (pair[rank] for pair in pairs)]
        lines.append(f"{rank + 1:>3} " + "  ".join(cells))
    return "\n".join([*lines, ""])


def fitted(size: tuple[int, int], model_size: int) -> str:
    """What has to be done to an image of another size than the model's."""
    if size == (model_size, model_size):
        return ""
    how = "enlarged" if min(size) < model_size else "reduced"
    return f" ({size[0]} x {size[1]} px, {how} to {model_size} x {model_size})"


def column(text: str, places: int) -> str:
    """Text in exactly so many places of a line: cut, with … at the end, or filled up with spaces."""
    reached = list(accumulate(map(places_of, text), initial=0))
    if reached[-1] > places:
        kept = bisect_right(reached, places - 1) - 1
        text, reached = f"{text[:kept]}…", [reached[kept] + 1]
    return text + " " * (places - reached[-1])


def places_of(character: str) -> int:
    """How many places of a line a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
