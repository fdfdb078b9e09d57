"""Command lines about entries: exit statuses and JSON of all, and the command line of `rescore` and `verify`."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from stages.entries.archive import unpacked
from stages.entries.record import Record, UncheckedError, needed_here, refusing, shortened
from stages.entries.rescore import rescore
from stages.report.wording import percent
from stages.runtime.cli import visible
from stages.runtime.params import load_params
from stages.runtime.startup import resume_garbage_collection
from stages.storage.memory import is_out_of_memory

GOOD, BAD, UNCHECKED = 0, 1, 3  # exit statuses; 2 is argparse's
VALID = {GOOD: True, BAD: False, UNCHECKED: None}


def main(program: str, description: str, arguments: list[str] | None = None) -> NoReturn:
    """Check the entry that the command line names, and end with its status."""
    resume_garbage_collection()
    parser = argparse.ArgumentParser(prog=f"python -m stages.{program}", description=description)
    parser.add_argument("entry", type=Path, help="folder, .zip or .tar.gz")
    add_json(parser)
    parser.add_argument("--fetch", action="store_true", help="download the model if it is not here")
    options = parser.parse_args(arguments)
    if not (options.entry.is_file() or options.entry.is_dir()):
        parser.error(f"{options.entry}: no such file or folder")
    found: Record = {"entry": str(options.entry), "record": None}
    with reporting(parser.prog, found, as_json=options.json):
        with needed_here():
            runtime = load_params().runtime
        with refusing(options.entry), unpacked(options.entry) as folder:
            found["record"] = rescore(folder, runtime=runtime, fetch=options.fetch)
        if not options.json:
            print(summary(found["record"]))
    sys.exit(GOOD)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option `--json` to a command line."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")


@contextmanager
def reporting(program: str, found: Record, *, as_json: bool) -> Iterator[None]:
    """Print what is found inside as one JSON object, or the error as one message; end the program if there is one.

    The object has the keys of `found`, which may be filled inside, `valid` and `error`.
    """
    status, message = GOOD, None
    try:
        yield
    except Exception as error:
        if not isinstance(error, ValueError) and not is_out_of_memory(error):
            raise  # a fault of ours
        status = BAD if isinstance(error, ValueError) and not isinstance(error, UncheckedError) else UNCHECKED
        message = str(error)
        if not isinstance(error, ValueError):
            message = f"out of memory ({message}); fewer runtime.workers or smaller batches may help"
        message = shortened(message)
    if as_json:
        print(json.dumps({**found, "valid": VALID[status], "error": message}))
    elif message is not None:
        print(f"{program}: error: " + "\n".join(map(visible, message.split("\n"))), file=sys.stderr)
    if status != GOOD:
        sys.exit(status)


def summary(record: Record) -> str:
    """Return what a good entry states: a line for its method and one for each eps."""
    lines = [f"good: {visible(record['method']['label'])}, suite {record['suite']}, n = {record['data']['n']}"]
    names = {"clean": "clean", "oblivious": "oblivious", "adaptive": "adaptive worst"}
    for one in record["results"]:
        shares = [f"{name} {percent(one[key]['accuracy'])}" for key, name in names.items() if one[key]]
        lines.append(f"eps {one['eps']:g}: {', '.join(shares)}")
    return "\n".join(lines)
