"""Compares two metrics.json: the same data sets, threats and prompts, every accuracy within one point.

python tests/compare_metrics.py EXPECTED FOUND
"""

import json
import sys
from pathlib import Path

TOLERANCE = 0.01


def accuracies(path: str) -> dict[str, float]:
    """The accuracy of every `dataset.threat.prompt`."""
    nested = json.loads(Path(path).read_text(encoding="utf-8"))
    return {
        f"{dataset}.{threat}.{prompt}": numbers["accuracy"]
        for dataset, threats in nested.items()
        for threat, prompts in threats.items()
        for prompt, numbers in prompts.items()
    }


def differences(expected: dict[str, float], found: dict[str, float]) -> list[str]:
    """What is missing, new, or more than TOLERANCE off."""
    names = sorted(expected.keys() | found.keys())
    return [
        f"{name}: {expected.get(name)} expected, {found.get(name)} found"
        for name in names
        if name not in expected or name not in found or abs(expected[name] - found[name]) > TOLERANCE
    ]


if __name__ == "__main__":
    if wrong := differences(accuracies(sys.argv[1]), accuracies(sys.argv[2])):
        sys.exit("\n".join(wrong))
    print(f"{len(accuracies(sys.argv[1]))} accuracies reproduced within {TOLERANCE:.0%}")
