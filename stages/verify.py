"""verify: check an entry of the leaderboard, a folder or an archive: its names, schema, digests, and by rescoring it.

    python -m stages.verify entry.tar.gz --json

Exit status: 0 if the entry is good, 1 if it is not, 2 if the command is used wrongly. A tool, no stage.
"""

import argparse
import json
import sys
from pathlib import Path

from stages.entries.archive import unpacked
from stages.entries.rescore import rescore
from stages.report.wording import percent
from stages.runtime.cli import visible
from stages.runtime.params import load_params
from stages.runtime.startup import resume_garbage_collection


def main(arguments: list[str] | None = None) -> None:
    """Say what is wrong with an entry, or what it states."""
    resume_garbage_collection()
    parser = argparse.ArgumentParser(prog="python -m stages.verify", description=__doc__.split("\n\n")[0])
    parser.add_argument("entry", type=Path, help="folder, .zip or .tar.gz")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of sentences")
    options = parser.parse_args(arguments)
    if not options.entry.exists():
        parser.error(f"{options.entry}: no such file or folder")
    runtime = load_params().runtime
    try:
        with unpacked(options.entry) as folder:
            record, error = rescore(folder, runtime=runtime), None
    except ValueError as found:
        record, error = {}, str(found)
    if options.json:
        print(
            json.dumps({"entry": str(options.entry), "valid": error is None, "error": error, "record": record or None})
        )
    elif error is not None:
        print(f"{parser.prog}: bad entry: {visible(error)}", file=sys.stderr)
    else:
        print(f"good: {visible(record['method']['label'])}, suite {record['suite']}, n = {record['data']['n']}")
        for one in record["results"]:
            print(
                f"eps {one['eps']:g}: clean {percent(one['clean']['accuracy'])}, "
                f"adaptive worst {percent(one['adaptive']['accuracy'])}"
            )
    sys.exit(0 if error is None else 1)


if __name__ == "__main__":
    main()
