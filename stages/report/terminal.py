"""Predictions on a terminal: a table of at most 80 columns, or JSON; nothing in either that a terminal would obey."""

import json
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.evaluation.predict import PromptPrediction
from stages.runtime.cli import visible

WIDTH = 80
Size = tuple[int, int]


def as_json(path: Path, size: Size, model_size: int, predictions: list[PromptPrediction]) -> str:
    """Return one image on one line: its path and size, then the classes and probabilities of each method."""
    parts = [one._asdict() | {"probabilities": [round(share, 6) for share in one.probabilities]} for one in predictions]
    for part in parts:
        del part["label"]
    return json.dumps({"path": str(path), "size": size, "model_size": model_size, "predictions": parts})


def as_table(path: Path, size: Size, model_size: int, predictions: list[PromptPrediction]) -> str:
    """Return one image as a few lines: a column for each method, the likeliest class first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", min_width=3)
    name = (WIDTH - 5) // len(predictions) - 10  # places for a class: 6 are for its percentage, 4 between columns
    for prediction in predictions:
        table.add_column(text(prediction.label), overflow="ellipsis", no_wrap=True, max_width=name)
        table.add_column("", justify="right", no_wrap=True, min_width=6)
    columns = [list(zip(one.classes, one.probabilities, strict=True)) for one in predictions]
    for rank, row in enumerate(zip(*columns, strict=True), start=1):
        cells = [cell for name, probability in row for cell in (text(name), f"{probability:.1%}")]
        table.add_row(str(rank), *cells)
    output = StringIO()
    console = Console(file=output, width=WIDTH, color_system=None, legacy_windows=False)
    console.print(table)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    return "\n".join([f"{visible(str(path))}{resized(size, model_size)}", *lines, ""])


def text(name: str) -> Text:
    """Return a name that rich takes for no markup and a terminal for no command."""
    return Text(visible(name))


def resized(size: Size, model_size: int) -> str:
    """Say how an image of another size than the model's is resized."""
    if size == (model_size, model_size):
        return ""
    how = "enlarged" if min(size) < model_size else "reduced"
    return f" ({size[0]} x {size[1]} px, {how} to {model_size} x {model_size})"
