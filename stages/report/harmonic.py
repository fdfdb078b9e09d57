"""Base-to-new: one number for the classes that a prompt was tuned on and those that it has never seen."""

from html import escape
from typing import Any

from stages.report.region import region
from stages.report.statistics import DIGITS
from stages.report.subsets import MEANING, mark_of
from stages.report.tables import Results
from stages.report.vocabulary import PROMPTS, Threat


def harmonic_mean(base: float, new: float) -> float:
    """2·base·new / (base + new), 0 where both are 0.

    Source: CoCoOp (Zhou et al. 2022), sec. 4.1, after Xian et al. 2017.
    """
    return 2 * base * new / (base + new) if base + new else 0.0


def harmonic_metrics(results: Results, balances: list[tuple[str, str, str]]) -> dict[str, Any]:
    """The harmonic means, nested `<dataset>_base_to_new`.threat.prompt.

    Args:
        results: Every accuracy.
        balances: For each data set its name and the names of its two studies, base and new.
    """
    nested: dict[str, Any] = {}
    for dataset, base, new in balances:
        for name, threat, prompt in results:
            if name == base:
                mean = harmonic_mean(results[base, threat, prompt].accuracy, results[new, threat, prompt].accuracy)
                threats = nested.setdefault(f"{dataset}_base_to_new", {})
                threats.setdefault(threat, {})[prompt] = {"accuracy": round(mean, DIGITS)}
    return nested


def harmonic_table(results: Results, dataset: str, base: str, new: str, threats: list[Threat]) -> str:
    """Base, new and their harmonic mean (H) for every threat and prompt, in percent; HTML."""
    columns = "".join(f'<th scope="col">{name}</th>' for name in ("threat", "prompt", "base", "new", "H"))
    rows = "".join(
        f'<tbody class="{escape(threat.knowledge)}">{threat_rows(results, base, new, threat)}</tbody>'
        for threat in threats
    )
    title = f"{dataset}: tuned on the base classes, judged on both halves"
    small = f"<small> {MEANING}</small>" if any(mark_of(results, (base, new), threat) for threat in threats) else ""
    head = f"<caption>{escape(title)}{small}</caption><thead><tr>{columns}</tr></thead>"
    return region(f'<table class="results">{head}{rows}</table>', title)


def threat_rows(results: Results, base: str, new: str, threat: Threat) -> str:
    """One threat: a line for each prompt."""
    lines, mark = [], mark_of(results, (base, new), threat)
    for prompt, name in PROMPTS.items():
        one, other = (results[study, threat.name, prompt].accuracy for study in (base, new))
        cells = "".join(f"<td>{100 * value:.1f}</td>" for value in (one, other, harmonic_mean(one, other)))
        first = f'<th scope="row">{escape(threat.name)}{mark}</th>' if not lines else "<td></td>"
        lines.append(f'<tr>{first}<th scope="row">{escape(name)}</th>{cells}</tr>')
    return "".join(lines)
