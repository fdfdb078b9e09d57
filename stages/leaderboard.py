"""leaderboard: entries/ -> reports/leaderboard.html and reports/leaderboard.csv. A tool, no stage."""

from pathlib import Path

import pandas as pd

from stages.entries.board import board_csv, board_html, certified_bounds, front_figure, newest, read_rows, tables_of
from stages.entries.record import ENTRIES
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.files import replacing
from stages.storage.layout import REPORTS


def main(entries: str = str(ENTRIES)) -> str:
    """Write the board of all entries of a folder."""
    params, bounds = load_params(), REPORTS / "certified.csv"
    certified = {}
    if bounds.is_file() and params.model.sha256:
        certified = certified_bounds(pd.read_csv(bounds), params.model.sha256, params.datasets[0])
    tables = tables_of(read_rows(Path(entries), certified))
    html = board_html(tables, front_figure(newest(tables)))
    for name, text in {"leaderboard.csv": board_csv(tables), "leaderboard.html": html}.items():
        with replacing(REPORTS / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return f"wrote {REPORTS}/leaderboard.html and .csv, {sum(len(table.rows) for table in tables)} rows"


if __name__ == "__main__":
    command(main)
