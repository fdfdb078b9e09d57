"""submit: pack a method that the pipeline has evaluated as an entry of the leaderboard.

    python -m stages.submit fashion/all/tune_bank/advpt my_entry
    python -m stages.submit --all

A tool, no stage. An entry is a folder: the record `entry.json`, the method's prompts, the outcome of each image, and
the attacked images that the method fell to.
"""

import argparse
import re
from pathlib import Path

from stages.entries.checking import add_json, reporting
from stages.entries.pack import PLACE, git_facts, pack
from stages.entries.record import ENTRIES, Record, parts_of_name
from stages.report.inputs import methods_of
from stages.runtime.params import Params, load_params
from stages.runtime.startup import resume_garbage_collection


def main(arguments: list[str] | None = None) -> None:
    """Pack one method, or all of params.yaml."""
    resume_garbage_collection()
    parser = argparse.ArgumentParser(prog="python -m stages.submit", description=__doc__.split("\n\n")[0])
    parser.add_argument("method", nargs="?", help="<data set>/<study>/<group>/<method>, as under data/prompts")
    parser.add_argument("out", nargs="?", type=Path, help="folder of the entry")
    parser.add_argument("--all", action="store_true", help=f"every method of params.yaml, to {ENTRIES}/")
    parser.add_argument("--preset", help="name of the preset that the method belongs to")
    parser.add_argument("--images", type=int, help="at most so many of the images under adaptive attack, a draw")
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.images is not None and options.images < 1:
        parser.error(f"--images {options.images}: at least one is needed")
    place = tuple((options.method or "").split("/"))
    if options.all == bool(options.method) or (options.method and (options.out is None or len(place) != 4)):
        parser.error("give <data set>/<study>/<group>/<method> and a folder, or --all")
    written: list[Record] = []
    with reporting(parser.prog, {"entries": written}, as_json=options.json):
        params, made_at = load_params(), git_facts()
        chosen = everything(params) if options.all else {place: options.out}
        for method, out in chosen.items():
            record = pack(method, out, params, made_at=made_at, preset=options.preset, most=options.images)
            written.append({"entry": str(out), "record": record})
            if not options.json:
                found = ", ".join(f"eps {one['eps']:g} {one['adaptive']['accuracy']:.3f}" for one in record["results"])
                print(f"wrote {out}, n = {record['data']['n']}, adaptive worst: {found}", flush=True)


def everything(params: Params) -> dict[PLACE, Path]:
    """Return all methods of the first data set with all of its classes, and the folders of their entries."""
    dataset, model = params.datasets[0], params.model.model_dump()
    tower = re.sub("[^a-z0-9_.-]", "-", "-".join(parts_of_name(model)).lower())
    methods = methods_of(params, "all")
    return {(dataset, "all", one.group, one.name): ENTRIES / f"{dataset}-{tower}-{one.name}" for one in methods}


if __name__ == "__main__":
    main()
