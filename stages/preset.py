"""preset: run the setting of a paper, and print its number, ours under its attack, and ours under the suite.

    python -m stages.preset fap --embedded

A tool, no stage: it calls `dvc exp run --temp`, which changes neither params.yaml nor anything else of the workspace.
presets/README.md says what each preset needs.
"""

import argparse
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from stages.entries.presets import changed_params, compared, ours, read_metrics, read_preset
from stages.runtime.cli import errors_as_messages
from stages.runtime.startup import resume_garbage_collection


def main(arguments: list[str] | None = None) -> None:
    """Run a preset and print the three numbers side by side."""
    resume_garbage_collection()
    parser = argparse.ArgumentParser(prog="python -m stages.preset", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help="a file of presets/ without its ending")
    parser.add_argument("--embedded", action="store_true", help="on data and a model of the repository")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead; words of DVC go to stderr")
    parser.add_argument("-S", dest="changes", action="append", default=[], help="further changes to params.yaml")
    options = parser.parse_args(arguments)
    with errors_as_messages(parser.prog):
        preset = read_preset(options.name)
        changes = [*preset.changes(embedded=options.embedded), *options.changes]
        params = changed_params(Path("params.yaml"), changes)
        preset.check(params)
    experiment = f"{options.name}-{datetime.now():%Y%m%d-%H%M%S}"
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", experiment]
    command += [word for change in changes for word in ("-S", change)]
    told = sys.stderr if options.json else None
    if status := subprocess.run(command, check=False, stdout=told).returncode:  # noqa: S603 - no shell takes part
        sys.exit(status)
    metrics = read_metrics(experiment)
    if options.json:
        facts = {"preset": options.name, "embedded": options.embedded, "experiment": experiment}
        theirs = {"theirs": preset.published.model_dump(), "differs": preset.differs}
        print(json.dumps({**facts, **theirs, "ours": ours(preset, metrics, params.datasets)}))
        return
    print(f"\n{preset.paper}, robust accuracy in %, with 95 % intervals")
    print(compared(preset, metrics, params.datasets).to_string())
    print(f"Theirs: {preset.published.place}.\nHere {preset.differs}.")
    print(f"`dvc exp apply {experiment}` brings its report into the workspace.")


if __name__ == "__main__":
    main()
