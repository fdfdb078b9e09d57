"""The templates of `dvc plots`: experiments side by side by colour, axes that start at zero."""

import json
import re
from collections.abc import Iterator

import pytest

from stages.report.tables import Accuracy
from tests.imports import ROOT

TABLES = {
    "threats": Accuracy._fields,
    "tuning": ("dataset", "method", "epoch", "loss", "accuracy", "loss_std", "accuracy_std"),
    "confusion_counts": ("dataset", "threat", "method", "actual", "predicted", "count"),
}


def channels(spec: object, name: str) -> Iterator[dict]:
    """Every encoding of a channel, however deep."""
    if isinstance(spec, dict):
        yield from (spec[name] for _ in [0] if isinstance(spec.get(name), dict) and "field" in spec[name])
        for part in spec.values():
            yield from channels(part, name)
    elif isinstance(spec, list):
        for part in spec:
            yield from channels(part, name)


def template(name: str) -> dict:
    return json.loads((ROOT / f".dvc/plots/{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["threats", "tuning"])
def test_experiments_are_told_apart_by_colour_alone(name):
    """All in one panel; a panel is of one method and one data set or kind of attacker."""
    (colour,) = channels(template(name), "color")
    facets = [field for channel in ("row", "column") for field in channels(template(name), channel)]
    assert colour["field"] == "rev" and len(colour["scale"]["range"]) == 8
    assert {facet["field"] for facet in facets} <= {"group", "dataset", "method"}


def test_no_two_rows_of_panels_share_their_place():
    """Vega lays panels out by this key alone: rows that tie are mixed, and stand under each other's titles."""
    spec = template("threats")
    (row,) = channels(spec, "row")
    (key,) = [step["calculate"] for step in spec["transform"] if step["as"] == row["sort"]["field"]]
    assert row["field"] == "group" and key.startswith("datum.dataset + ") and "datum.knowledge" in key


@pytest.mark.parametrize(("name", "columns"), TABLES.items())
def test_the_table_has_the_columns_that_its_template_reads(name, columns):
    """The columns, and those that the template computes."""
    spec = template(name)
    text = json.dumps(spec)
    made = {step["as"] for step in spec["transform"] if isinstance(step.get("as"), str)} | {"images"}
    read = set(re.findall(r"datum\.(\w+)", text)) | set(re.findall(r'"field": "(\w+)"', text))
    assert read - made - {"rev"} <= set(columns)
    for anchor in ("<DVC_METRIC_DATA>", "<DVC_METRIC_TITLE>", "<DVC_METRIC_X>", "<DVC_METRIC_Y>"):
        assert anchor in text
