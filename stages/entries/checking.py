"""The command line of `rescore` and `verify`: check an entry, and say so in sentences or as JSON."""

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn

from stages.entries.archive import unpacked
from stages.entries.record import Record, UncheckedError, needed_here, refusing
from stages.entries.rescore import rescore
from stages.report.wording import percent
from stages.runtime.cli import visible
from stages.runtime.params import load_params
from stages.runtime.startup import resume_garbage_collection

GOOD, BAD, UNCHECKED = 0, 1, 3  # exit statuses; 2 is argparse's
VALID = {GOOD: True, BAD: False, UNCHECKED: None}


def main(program: str, description: str, arguments: list[str] | None = None) -> NoReturn:
    """Check the entry that the command line names, and end with its status."""
    resume_garbage_collection()
    parser = argparse.ArgumentParser(prog=f"python -m stages.{program}", description=description)
    parser.add_argument("entry", type=Path, help="folder, .zip or .tar.gz")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of sentences")
    parser.add_argument("--fetch", action="store_true", help="download the model if it is not here")
    options = parser.parse_args(arguments)
    if not (options.entry.is_file() or options.entry.is_dir()):
        parser.error(f"{options.entry}: no such file or folder")
    status, record, error = check(options.entry, fetch=options.fetch)
    if options.json:
        found = {"entry": str(options.entry), "valid": VALID[status], "error": error, "record": record}
        print(json.dumps(found))
    elif record is None:
        print(f"{parser.prog}: {'bad entry: ' if status == BAD else ''}{visible(error or '')}", file=sys.stderr)
    else:
        print(summary(record))
    sys.exit(status)


def check(entry: Path, *, fetch: bool) -> tuple[int, Record | None, str | None]:
    """Return the status of an entry, its record if it is good, and otherwise what is wrong."""
    try:
        with needed_here():
            runtime = load_params().runtime
        with refusing(entry), unpacked(entry) as folder:
            return GOOD, rescore(folder, runtime=runtime, fetch=fetch), None
    except ValueError as error:
        return UNCHECKED if isinstance(error, UncheckedError) else BAD, None, str(error)


def summary(record: Record) -> str:
    """Return what a good entry states: a line for its method and one for each eps."""
    lines = [f"good: {visible(record['method']['label'])}, suite {record['suite']}, n = {record['data']['n']}"]
    names = {"clean": "clean", "oblivious": "oblivious", "adaptive": "adaptive worst"}
    for one in record["results"]:
        shares = [f"{name} {percent(one[key]['accuracy'])}" for key, name in names.items() if one[key]]
        lines.append(f"eps {one['eps']:g}: {', '.join(shares)}")
    return "\n".join(lines)
