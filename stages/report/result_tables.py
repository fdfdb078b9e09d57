"""The tables of the page, as plain data for its template: methods are rows, threats group them."""

from dataclasses import dataclass, field

import pandas as pd

from stages.report.comparison import EFFECTS, Comparison, against_baseline, against_reference, signed
from stages.report.statistics import DIGITS
from stages.report.tables import Results
from stages.report.vocabulary import KNOWLEDGE, Method, Threat

MARK = "†"
SUBSET = f"{MARK} of a class-balanced draw of the test images; n and clean accuracy are in the table of each study."


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        small: What is written smaller below.
        kind: `gain`, `loss` or `noise`; empty if it is no comparison.
        meaning: The same in words, for the pointer and for screen readers.
        bold: Whether the text is.
    """

    text: str
    small: str = ""
    kind: str = ""
    meaning: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Rows:
    """The rows of one threat: a heading, then a method and its cells in each."""

    threat: Threat
    heading: str
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Table:
    """A table of methods by threat.

    Attributes:
        title: Above it.
        legend: What its marks mean.
        columns: Their heads, without that of the methods.
        groups: From top to bottom.
        footnote: Below it.
        notes: Sentences below it.
    """

    title: str
    legend: str
    columns: list[str]
    groups: list[Rows]
    footnote: str = ""
    notes: list[str] = field(default_factory=list)


def results_table(study: Results, notes: list[str]) -> Table:
    """Return the table of one study, with a footnote if a threat attacks a subset; accuracies in percent."""
    reference = study.reference.label
    legend = ", ".join(f"{mark} {words.format('the other')}" for mark, words in EFFECTS.values())
    columns = ["accuracy", "95 % interval", "± over seeds", f"against {reference}", "against its baseline"]
    subsets = any(study.is_subset(line) for line in study.lines.values())
    if subsets:
        columns.insert(1, "clean accuracy")
    groups = [
        Rows(
            threat,
            heading(study, threat),
            [(method.label, cells(study, threat, method, subsets)) for method in study.methods],
        )
        for threat in study.threats
    ]
    return Table(study.title, legend, columns, groups, footnote(study), notes)


def heading(study: Results, threat: Threat) -> str:
    """Return what stands above the methods under one threat."""
    knowledge = (
        f"{threat.recipe}; {threat.knowledge}: {KNOWLEDGE[threat.knowledge]}" if threat.attack else threat.recipe
    )
    return f"{knowledge}; n = {counts(study, threat)}"


def cells(study: Results, threat: Threat, method: Method, subsets: bool) -> list[Cell]:
    """Return the cells of one method under one threat."""
    line = study.line(threat, method)
    cells = [Cell(percent(line.accuracy), bold=True)]
    if subsets:
        cells.append(Cell(percent(line.clean_accuracy)))
    spread = "one seed" if pd.isna(line.std) else f"{100 * line.std:.1f} ({line.seeds} seeds)"
    cells += [Cell(f"{percent(line.low)} – {percent(line.high)}"), Cell(spread)]
    return cells + [gain(against(study, threat, method)) for against in (against_reference, against_baseline)]


def gain(comparison: Comparison | None) -> Cell:
    """Return a difference in points with its mark; empty without a comparison."""
    if comparison is None:
        return Cell("")
    kind = comparison.effect
    small = f"{kind if kind != 'noise' else 'within noise'}, {comparison.label}"
    text = f"{EFFECTS[kind][0]} {signed(comparison.points)}"
    return Cell(text, small, kind, comparison.meaning, bold=kind != "noise")


def overview_table(title: str, studies: list[Results]) -> Table:
    """Return one table over several studies of the same methods, the mean last, the best of each column in bold."""
    groups = []
    for threat in studies[0].threats:
        values = pd.DataFrame([[one.accuracy for one in study.of_threat(threat)] for study in studies])
        values.loc["mean"] = values.mean()
        values = (100 * values).round(1)  # (studies + 1, methods)
        best = values.max(axis=1)
        rows = [
            (
                method.label,
                [Cell(f"{value:.1f}", bold=value == top) for value, top in zip(values[at], best, strict=True)],
            )
            for at, method in enumerate(studies[0].methods)
        ]
        groups.append(Rows(threat, threat.recipe + subset_mark(studies, threat), rows))
    return Table(title, subset_legend(studies), [*(study.title for study in studies), "mean"], groups)


def harmonic_mean(base: float, new: float) -> float:
    """Return 2·base·new / (base + new), 0 where both are 0.

    Source: CoCoOp (Zhou et al. 2022), sec. 4.1, after Xian et al. 2017.
    """
    return 2 * base * new / (base + new) if base + new else 0.0


def harmonic_table(dataset: str, base: Results, new: Results) -> Table:
    """Return base, new and their harmonic mean (H) for every threat and method, in percent."""
    groups = []
    for threat in base.threats:
        rows = []
        for method in base.methods:
            one, other = (study.line(threat, method).accuracy for study in (base, new))
            values = (one, other, harmonic_mean(one, other))
            rows.append((method.label, [Cell(percent(value)) for value in values]))
        groups.append(Rows(threat, threat.recipe + subset_mark([base, new], threat), rows))
    title = f"{dataset}: tuned on the base classes, evaluated on both halves"
    return Table(title, subset_legend([base, new]), ["base", "new", "H"], groups)


def harmonic_metrics(halves: dict[str, tuple[Results, Results]]) -> dict[str, dict]:
    """Return the harmonic means of base and new, nested `<dataset>_base_to_new`.threat.method."""
    return {
        f"{dataset}_base_to_new": {
            threat.name: {
                method.name: {
                    "accuracy": round(
                        harmonic_mean(base.line(threat, method).accuracy, new.line(threat, method).accuracy), DIGITS
                    )
                }
                for method in base.methods
            }
            for threat in base.threats
        }
        for dataset, (base, new) in halves.items()
    }


def percent(share: float) -> str:
    """Return a fraction in percent, with one digit."""
    return f"{100 * share:.1f}"


def counts(study: Results, threat: Threat) -> str:
    """Return the number of images of one threat, marked if it is a subset."""
    sizes = {line.n: MARK if study.is_subset(line) else "" for line in study.of_threat(threat)}
    return "/".join(f"{n}{mark}" for n, mark in sizes.items())


def subset_mark(studies: list[Results], threat: Threat) -> str:
    """Return the mark if a threat attacks a subset in one of the studies, else nothing."""
    return f" {MARK}" if any(study.is_subset(line) for study in studies for line in study.of_threat(threat)) else ""


def subset_legend(studies: list[Results]) -> str:
    """Return the meaning of the mark if a threat has it, else nothing."""
    return SUBSET if any(subset_mark(studies, threat) for threat in studies[0].threats) else ""


def footnote(study: Results) -> str:
    """Explain the mark of a subset, as plain text; empty if no threat is marked."""
    sizes = sorted({line.n for line in study.lines.values() if study.is_subset(line)})
    if not sizes:
        return ""
    return (
        f"{MARK} {' or '.join(map(str, sizes))} of {study.images} test images, a class-balanced draw; “clean accuracy” "
        "is that on these images without attack, with the same tuning seeds."
    )
