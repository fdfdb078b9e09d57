"""index.html: the results, the figures, and what made them, in one file that needs nothing else."""

from base64 import b64encode
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.report import comparison, wording
from stages.report.facts import Facts
from stages.report.method_table import MethodTable
from stages.report.overview import Overview
from stages.report.vocabulary import KNOWLEDGE

TEMPLATES = Path(__file__).parent / "templates"


def page(
    cautions: list[str],
    verdict: list[str],
    tables: list[list[MethodTable]],
    overviews: list[Overview],
    pictures: dict[str, bytes],
    notes: dict[str, str],
    checks: pd.DataFrame,
    origins: list[Facts],
    *,
    shown: str,
) -> str:
    """Return the whole page.

    Args:
        cautions: Reasons to distrust the results, plain text.
        verdict: Sentences on the methods, plain text.
        tables: The tables of methods of each study.
        overviews: Studies side by side.
        pictures: The figures, PNG, by the names of their files.
        notes: What their captions say in numbers.
        checks: Of the attacks: dataset, check, status, found.
        origins: What made the results.
        shown: Label of the method that the checks are about, and the figures with room for one.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["base64"] = lambda png: b64encode(png).decode()
    return environment.get_template("page.html.j2").render(
        cautions=cautions,
        verdict=verdict,
        tables=tables,
        overviews=overviews,
        pictures=pictures,
        notes=notes,
        checks=list(checks.itertuples(index=False)),
        origins=origins,
        reference=tables[0][0].study.reference.label,
        shown=shown,
        comparison=comparison,
        wording=wording,
        knowledge=KNOWLEDGE,
    )
