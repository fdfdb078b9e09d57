"""Compare every accuracy of two metrics.json, by data set, threat and method; exit 1 if one differs.

python tests/compare_metrics.py OLD NEW [--tolerance 0.01]
"""

import argparse
import json
import sys
from pathlib import Path

from stages.report.facts import flat


def accuracies(metrics: dict) -> dict[str, float]:
    """Return the accuracy of every `dataset.threat.method`; other numbers beside it are left out.

    Raises:
        ValueError: If there is no accuracy at all.
    """
    numbers = flat(metrics)
    found = {name.removesuffix(".accuracy"): numbers[name] for name in numbers if name.endswith(".accuracy")}
    if not found:
        raise ValueError("no accuracy in it; is this a metrics.json?")
    return found


def differences(old: dict[str, float], new: dict[str, float], tolerance: float) -> list[str]:
    """Return a line for each accuracy that is missing, new, or more than the tolerance off."""
    return [
        f"{name}: {old.get(name, 'none')} in the old file, {new.get(name, 'none')} in the new one"
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or abs(old[name] - new[name]) > tolerance
    ]


def main(arguments: list[str]) -> str:
    """Compare the files; return what to say if all is equal, and leave with the differences if not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference that is none (0)")
    options = parser.parse_args(arguments)
    before, after = (accuracies(json.loads(path.read_text(encoding="utf-8"))) for path in (options.old, options.new))
    if wrong := differences(before, after, options.tolerance):
        sys.exit("\n".join([*wrong, f"{len(wrong)} of {len(before.keys() | after.keys())} accuracies differ"]))
    return f"{len(before)} accuracies are equal, tolerance {options.tolerance:g}"


if __name__ == "__main__":
    print(main(sys.argv[1:]))
