"""index.html: the results, the figures, and what made them, in one file that needs nothing else."""

from base64 import b64encode
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.report.facts import Facts
from stages.report.figures import Picture
from stages.report.result_tables import Table

TEMPLATES = Path(__file__).parent / "templates"
TITLE = "Adversarial prompt tuning: results"
SECTIONS = {
    "results": "Results",
    "figures": "Figures",
    "trust": "Can the attacks be trusted?",
    "origins": "Data, methods and threats",
}


def page(
    verdict: dict[str, list[str]],
    tables: list[Table],
    pictures: dict[str, Picture],
    checks: pd.DataFrame,
    origins: list[Facts],
    *,
    assessed: str,
) -> str:
    """Return the whole page.

    Args:
        verdict: Sentences by their heading, plain text.
        tables: The tables of results.
        pictures: The figures, embedded, by the names of their files.
        checks: Of the attacks: dataset, check, status, found.
        origins: What made the results.
        assessed: Label of the method that the checks are about.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )
    environment.filters["base64"] = lambda png: b64encode(png).decode()
    return environment.get_template("page.html.j2").render(
        title=TITLE,
        sections=SECTIONS,
        verdict=verdict,
        tables=tables,
        pictures=pictures,
        checks=list(checks.itertuples(index=False)),
        origins=origins,
        assessed=assessed,
    )
