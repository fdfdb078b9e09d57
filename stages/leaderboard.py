"""leaderboard: write the board, reports/leaderboard.html and .csv, of the entries of a folder, after rescoring all.

The board of another folder than entries/ is written beside that folder. A tool, no stage.
"""

import argparse
from pathlib import Path

import pandas as pd

from stages.entries.board import board_csv, board_html, certified_bounds, front_figure, newest, read_rows, tables_of
from stages.entries.checking import add_json, reporting
from stages.entries.record import ENTRIES, Record, needed_here
from stages.runtime.params import load_params
from stages.runtime.startup import resume_garbage_collection
from stages.storage.files import replacing
from stages.storage.layout import REPORTS


def main(arguments: list[str] | None = None) -> None:
    """Write the board of all entries of a folder, and say where."""
    resume_garbage_collection()
    parser = argparse.ArgumentParser(prog="python -m stages.leaderboard", description=__doc__.split("\n\n")[0])
    parser.add_argument("entries", nargs="?", type=Path, default=ENTRIES, help=f"folder of entries; {ENTRIES} if none")
    add_json(parser)
    options = parser.parse_args(arguments)
    if not options.entries.is_dir():
        parser.error(f"{options.entries}: no such folder; one with a folder for each entry is needed")
    found: Record = {"html": None, "csv": None, "rows": None}
    with reporting(parser.prog, found, as_json=options.json):
        found |= write_board(options.entries)
        if not options.json:
            print(f"wrote {found['html']} and {found['csv']}, {found['rows']} rows")


def write_board(entries: Path) -> Record:
    """Write the board of the entries of a folder; return the paths of its files, and the number of rows.

    Raises:
        ValueError: If an entry is bad.
        UncheckedError: If one cannot be checked here.
    """
    folder, bounds = entries.resolve(), REPORTS / "certified.csv"
    out = REPORTS / "leaderboard" if folder == ENTRIES.resolve() else folder
    with needed_here():
        runtime = load_params().runtime
        certified = certified_bounds(pd.read_csv(bounds)) if bounds.is_file() else {}
    tables = tables_of(read_rows(folder, certified, runtime=runtime))
    texts = {"html": board_html(tables, front_figure(newest(tables))), "csv": board_csv(tables)}
    paths = {ending: out.with_name(f"{out.name}.{ending}") for ending in texts}
    for ending, text in texts.items():
        with replacing(paths[ending]) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return {**{ending: str(path) for ending, path in paths.items()}, "rows": sum(len(one.rows) for one in tables)}


if __name__ == "__main__":
    main()
