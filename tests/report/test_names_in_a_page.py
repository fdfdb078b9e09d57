"""Names of classes on their way into DVC's page and back: escaped in the CSV, as they are in words and pictures."""

import json
import re
from html import unescape

import pytest

from stages.report.confusion_figure import shares_of
from stages.report.tables import confusion_table, in_a_page
from tests.imports import ROOT
from tests.report.studies import COOP

NAMES = [
    "</script><script>alert(1)</script>",
    "<!--",
    "a & b &lt; &amp;lt; c",
    "$& \\u003c 'quoted' \"twice\"",
    "plain",
]


def test_what_is_laid_into_a_script_cannot_end_it():
    assert not re.search("[<>]", "".join(in_a_page(NAMES)))
    assert in_a_page(NAMES)[:2] == ["&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;", "&lt;!--"]
    assert in_a_page(NAMES)[3:] == [NAMES[3].replace("&", "&amp;"), "plain"]
    assert [unescape(name) for name in in_a_page(NAMES)] == NAMES


@pytest.mark.parametrize("field", ["actual", "predicted"])
def test_the_template_of_the_plot_shows_the_names_themselves(field):
    """Its expression is a chain of replacements, the innermost first."""
    template = json.loads((ROOT / ".dvc/plots/confusion_counts.json").read_text(encoding="utf-8"))
    (expression,) = [step["calculate"] for step in template["transform"] if step.get("as") == field]
    steps = re.findall(r", /([^/]+)/g, '(.)'\)", expression)
    assert expression.startswith("replace(" * len(steps) + f"datum.{field}, ") and len(steps) == 3
    for name, shown in zip(NAMES, in_a_page(NAMES), strict=True):
        for pattern, by in steps:
            shown = shown.replace(pattern, by)
        assert shown == name


def test_the_figure_finds_the_names_again(rows):
    table = confusion_table(rows("pgd", ("coop", 0, "x", 0, 1), ("coop", 0, "y", 1, 1)), NAMES)
    assert table["actual"].tolist() == in_a_page(NAMES)[:2]
    assert shares_of(table, "tiny", COOP, NAMES)[:2, :2].tolist() == [[0, 100], [0, 100]]
