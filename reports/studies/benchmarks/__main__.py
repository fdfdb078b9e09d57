"""Runs the benchmarks: `python -m reports.studies.benchmarks`, on a GPU if there is one; over ten minutes on a CPU.

Names choose some of them: text_tower, crafting, tuning, images, growth, reruns, suite, cluster (with Ray).
Tables are printed, and written to reports/benchmarks/ as JSON.
"""

import argparse
import importlib
import json
import logging
from pathlib import Path

import pandas as pd

from reports.studies.benchmarks.measuring import machine, shown
from stages.models.device import choose_device
from stages.runtime.startup import import_open_clip

NAMES = ("text_tower", "crafting", "tuning", "images", "growth", "reruns", "suite", "cluster")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.studies.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="the small cases only; writes nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    device = choose_device(arguments.device)
    import_open_clip()
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that weights are random, as they should be here
    for name in arguments.names or NAMES:
        benchmark = importlib.import_module(f"reports.studies.benchmarks.{name}")
        where, rows = machine(device), []
        about = ", ".join(f"{key} {value}" for key, value in where.items())
        print(f"\n{str(benchmark.__doc__).splitlines()[0]}\n{about}\n")
        for row in benchmark.run(device, quick=arguments.quick):
            rows.append(row)
            if not arguments.quick:  # line by line, for time on a GPU may end before the last one
                out = Path(f"reports/benchmarks/{name}-{device.type}.json")
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps({"machine": where, "rows": rows}, indent=2) + "\n", encoding="utf-8")
        print(pd.DataFrame(rows, dtype=object).map(shown).to_string(index=False))


if __name__ == "__main__":
    main()
