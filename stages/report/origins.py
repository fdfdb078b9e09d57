"""What made the results, as HTML tables: data set, model, parameters, library versions."""

import json
from html import escape
from typing import Any

from stages.report.region import region
from stages.report.vocabulary import PROMPTS, Threat


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, the keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def prompts_table(dataset: str, made_by: dict[str, dict[str, Any]]) -> str:
    """What made each prompt of a data set, by name; values that all share stand once."""
    return side_by_side(
        f"{dataset}: the prompts", [PROMPTS[name] for name in made_by], [flat(made) for made in made_by.values()]
    )


def threats_table(threats: list[Threat]) -> str:
    """The parameters of every threat but `clean`; eps in 1/255."""
    attacks = [threat for threat in threats if threat.attack]
    return side_by_side("the threats", [threat.name for threat in attacks], [flat(threat.attack) for threat in attacks])


def datasets_table(facts: dict[str, dict[str, str]]) -> str:
    """Facts of each data set, by its name."""
    return side_by_side("the data sets", list(facts), list(facts.values()))


def side_by_side(caption: str, names: list[str], columns: list[dict[str, Any]]) -> str:
    """Dictionaries as the columns of one table, a row for every key that any of them has."""
    keys = dict.fromkeys(key for column in columns for key in column)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(row(key, [text(column[key]) if key in column else "" for column in columns]) for key in keys)
    thead = f"<caption>{escape(caption)}</caption><thead><tr><td></td>{head}</tr></thead>"
    return region(f"<table>{thead}<tbody>{rows}</tbody></table>", caption)


def row(key: str, values: list[str]) -> str:
    """One key; a value that all columns share spans them."""
    cells = "".join(f"<td>{escape(value)}</td>" for value in values)
    if len(set(values)) == 1:
        cells = f'<td colspan="{len(values)}">{escape(values[0])}</td>'
    return f'<tr><th scope="row">{escape(key)}</th>{cells}</tr>'


def text(value: Any) -> str:
    """A value as params.yaml writes it; an empty list is none."""
    if value == []:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
