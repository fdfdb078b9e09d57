"""Entries of the leaderboard from an experiment of `dvc exp run`, in which nothing is attacked again.

    python -m reports.studies.entries EXPERIMENT [METHOD ...]

The entries name the commit that the experiment started from: its code and, but for the parameters that the record
states, its parameters.
"""

import argparse

from reports.studies.experiments import checked_out, found
from stages.entries.pack import pack
from stages.entries.presets import git
from stages.entries.record import ENTRIES
from stages.runtime.cli import errors_as_messages
from stages.runtime.params import load_params
from stages.submit import everything


def main(arguments: list[str] | None = None) -> None:
    """Pack methods of an experiment, by default all of them."""
    parser = argparse.ArgumentParser(prog="python -m reports.studies.entries", description=__doc__.split("\n\n")[0])
    parser.add_argument("experiment", help="its name")
    parser.add_argument("methods", nargs="*", help="names of methods; by default all")
    parser.add_argument("--images", type=int, default=100, help="at most so many of those under adaptive attack")
    options = parser.parse_args(arguments)
    if not (ref := found(options.experiment)):
        parser.error(f"no experiment called {options.experiment}; `dvc exp show` lists them")
    out = ENTRIES.resolve()
    with errors_as_messages(parser.prog), checked_out(ref):
        commit, date = git("log", "-1", "--format=%H %cs", "FETCH_HEAD^").split()
        made_at = {"commit": commit, "date": date}
        params = load_params()
        places = everything(params)
        if unknown := set(options.methods) - {name for *_, name in places}:
            raise ValueError(f"{options.experiment}: no method called {min(unknown)}")
        for place, entry in places.items():
            if options.methods and place[-1] not in options.methods:
                continue
            record = pack(place, out / entry.name, params, made_at=made_at, preset=None, most=options.images)
            print(f"wrote {out / entry.name}, suite {record['suite']}, n = {record['data']['n']}", flush=True)


if __name__ == "__main__":
    main()
