"""The big table: data sets across, threats and prompts down, the mean over the data sets last."""

from html import escape

import numpy as np

from stages.report.region import region
from stages.report.subsets import MEANING, mark_of
from stages.report.tables import Results
from stages.report.vocabulary import PROMPTS, Threat


def overview_table(results: Results, title: str, names: list[str], threats: list[Threat]) -> str:
    """One table over several studies; accuracies in percent, under attack robust accuracies.

    Args:
        results: Every accuracy.
        title: What stands above the table.
        names: The studies, one column each.
        threats: The threats from top to bottom.

    Returns:
        HTML.
    """
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in [*names, "mean"])
    head = f'<tr><th scope="col">threat</th><th scope="col">prompt</th>{columns}</tr>'
    bodies = "".join(
        f'<tbody class="{escape(threat.knowledge)}">{threat_rows(results, names, threat)}</tbody>' for threat in threats
    )
    small = f"<small> {MEANING}</small>" if any(mark_of(results, names, threat) for threat in threats) else ""
    caption = f"<caption>{escape(title)}{small}</caption>"
    return region(f'<table class="results">{caption}<thead>{head}</thead>{bodies}</table>', title)


def threat_rows(results: Results, names: list[str], threat: Threat) -> str:
    """One threat: a line for each prompt, the best of each column in bold."""
    values = np.array([[results[name, threat.name, prompt].accuracy for name in names] for prompt in PROMPTS])
    values = 100 * np.column_stack([values, values.mean(1)])
    best = values.round(1).max(0)
    mark = mark_of(results, names, threat)
    lines = []
    for prompt, line in zip(PROMPTS.values(), values, strict=True):
        cells = "".join(cell(value, value.round(1) == top) for value, top in zip(line, best, strict=True))
        name = f'<th scope="row">{escape(threat.name)}{mark}</th>' if not lines else "<td></td>"
        lines.append(f'<tr>{name}<th scope="row">{escape(prompt)}</th>{cells}</tr>')
    return "".join(lines)


def cell(value: float, best: bool) -> str:
    """An accuracy in percent."""
    return f"<td><b>{value:.1f}</b></td>" if best else f"<td>{value:.1f}</td>"
