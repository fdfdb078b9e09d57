"""leaderboard: entries/ -> reports/leaderboard.html and reports/leaderboard.csv, after rescoring every entry.

The board of another folder is written beside that folder. A tool, no stage.
"""

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
    folder, bounds = Path(entries).resolve(), REPORTS / "certified.csv"
    out = REPORTS / "leaderboard" if folder == ENTRIES.resolve() else folder
    certified = certified_bounds(pd.read_csv(bounds)) if bounds.is_file() else {}
    tables = tables_of(read_rows(folder, certified, runtime=load_params().runtime))
    html = board_html(tables, front_figure(newest(tables)))
    for ending, text in {"csv": board_csv(tables), "html": html}.items():
        with replacing(out.with_name(f"{out.name}.{ending}")) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return f"wrote {out}.html and .csv, {sum(len(table.rows) for table in tables)} rows"


if __name__ == "__main__":
    command(main)
