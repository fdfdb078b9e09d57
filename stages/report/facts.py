"""Tables of the data sets, methods and threats behind the results."""

import json
from typing import Any, NamedTuple


class Facts(NamedTuple):
    """A table of facts: what all items share, then what is particular to each."""

    title: str
    rows: list[tuple[str, str]]


def facts_table(title: str, items: dict[str, dict[str, Any]]) -> Facts:
    """Return a row for every value that all items share, and a row for each item with its other values.

    Args:
        title: Above the table.
        items: Nested facts by the name of their item.
    """
    flattened = {name: flat(facts) for name, facts in items.items()}
    first, *others = flattened.values()
    shared = {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}
    shared = shared if others else {}
    rows = [(key, written(value)) for key, value in shared.items()]
    for name, facts in flattened.items():
        rows.append((name, values({key: value for key, value in facts.items() if key not in shared})))
    return Facts(title, rows)


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, the keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def values(block: dict[str, Any]) -> str:
    """Return a block of params.yaml on one line."""
    return ", ".join(f"{key} {written(value)}" for key, value in block.items())


def written(value: Any) -> str:
    """Return one value as params.yaml has it: numbers short, lists joined, an empty list as none."""
    if isinstance(value, list):
        return " and ".join(map(written, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
