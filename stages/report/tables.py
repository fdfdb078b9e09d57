"""The accuracies of a study, and the tidy tables behind every figure."""

from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import pandas as pd

from stages.report.significance import comparisons
from stages.report.statistics import DIGITS, EXAMPLE, accuracies, clean_accuracies, robust_rows
from stages.report.vocabulary import CLEAN, Method, Threat, baseline_of, reference_of

NAN = float("nan")
Predictions = dict[str, pd.DataFrame]  # threat name -> rows of all methods, `clean` among them


class Accuracy(NamedTuple):
    """One line of the accuracy table; accuracies are fractions, see `statistics.accuracies`, or NaN."""

    dataset: str
    threat: str
    knowledge: str
    method: str
    accuracy: float
    low: float
    high: float
    std: float
    n: int
    seeds: int
    clean_accuracy: float  # on the same images without attack, with the same tuning seeds
    p_reference: float = NAN  # corrected, of the comparison with the reference
    p_baseline: float = NAN  # corrected, of the comparison with the method's baseline
    oblivious_accuracy: float = NAN  # of an adaptive threat: the lowest under an oblivious one of its eps, likewise


@dataclass(frozen=True)
class Results:
    """The accuracies of one study."""

    title: str  # the study's, such as `dtd`, `dtd_base`, `imagenet_to_dtd`
    methods: list[Method]  # in the order of the report
    threats: list[Threat]  # from top to bottom
    lines: dict[tuple[str, str], Accuracy]  # by threat and method

    @property
    def reference(self) -> Method:
        """The method that all others are compared with."""
        return reference_of(self.methods)

    @property
    def images(self) -> int:
        """Number of test images."""
        return max(line.n for line in self.lines.values())

    def line(self, threat: Threat, method: Method) -> Accuracy:
        return self.lines[threat.name, method.name]

    def of_threat(self, threat: Threat) -> list[Accuracy]:
        """Return the accuracies under a threat, in the order of the methods."""
        return [self.line(threat, method) for method in self.methods]

    def strongest(self, method: Method, knowledge: str) -> dict[float, Accuracy]:
        """Return, by ascending eps, what the strongest threat of one kind of attacker leaves of a method.

        Where there is a pointwise worst, this is it; otherwise the threat with the lowest accuracy.
        """
        found: dict[float, list[tuple[bool, float, Accuracy]]] = {}
        for threat in sorted(self.threats, key=lambda threat: threat.eps):
            if threat.knowledge == knowledge and (line := self.lines.get((threat.name, method.name))):
                found.setdefault(threat.eps, []).append((not threat.is_worst, line.accuracy, line))
        return {eps: min(lines)[-1] for eps, lines in found.items()}


def results_from(table: pd.DataFrame, title: str, methods: list[Method], threats: list[Threat]) -> Results:
    """Return the results of a study from its rows of the accuracy table."""
    lines = (Accuracy(**row) for row in table[table["dataset"] == title].to_dict("records"))
    return Results(title, methods, threats, {(line.threat, line.method): line for line in lines})


def results_of(title: str, predictions: Predictions, methods: list[Method], threats: list[Threat]) -> Results:
    """Compute the accuracy of every threat and method; robust accuracy wherever there is an attack."""
    robust = {threat.name: robust_rows(predictions[CLEAN.name], predictions[threat.name]) for threat in threats}
    compared_with = {method.name: (reference_of(methods), baseline_of(method, methods)) for method in methods}
    pairs = [(name, other.name) for name, others in compared_with.items() for other in others if other]
    p = comparisons(robust, [pair for pair in pairs if pair[0] != pair[1]])
    lines = {}
    for threat in threats:
        clean, oblivious = clean_accuracies(robust[threat.name]), oblivious_accuracies(robust, threat, threats)
        for line in accuracies(robust[threat.name]).itertuples(index=False):
            about = (title, threat.name, threat.knowledge, *line, float(clean[line.method]))
            others = (other.name if other else "" for other in compared_with[line.method])
            tested = (p.get((threat.name, line.method, other), NAN) for other in others)
            lines[threat.name, line.method] = Accuracy(*(*about, *tested, oblivious.get(line.method, NAN)))
    return Results(title, methods, threats, lines)


def oblivious_accuracies(robust: Predictions, adaptive: Threat, threats: list[Threat]) -> dict[str, float]:
    """Return the lowest accuracy of each method under an oblivious threat of the eps, on the same examples."""
    others = [one for one in threats if one.knowledge == "oblivious" and one.eps == adaptive.eps]
    if adaptive.knowledge != "adaptive" or not others:
        return {}
    same = [robust[one.name].merge(robust[adaptive.name][EXAMPLE], on=EXAMPLE) for one in others]
    return pd.concat([accuracies(rows).set_index("method")["accuracy"] for rows in same], axis=1).min(axis=1).to_dict()


def accuracy_table(studies: list[Results]) -> pd.DataFrame:
    return pd.DataFrame([line for study in studies for line in study.lines.values()], columns=Accuracy._fields)


def metrics_of(studies: list[Results]) -> dict[str, Any]:
    """Return the results nested dataset.threat.method; an undefined std is None, p is against the reference."""
    names = ("accuracy", "n", "low", "high", "std", "seeds", "clean_accuracy")
    nested: dict[str, Any] = {}
    for line in (line for study in studies for line in study.lines.values()):
        values = {name: getattr(line, name) for name in names} | {"std": None if pd.isna(line.std) else line.std}
        tested = {} if pd.isna(line.p_reference) else {"p": line.p_reference}
        nested.setdefault(line.dataset, {}).setdefault(line.threat, {})[line.method] = values | tested
    return nested


def summary_of(studies: list[Results]) -> dict[str, Any]:
    """Return what `dvc exp show` and `dvc metrics diff` compare: accuracies alone, nested dataset.threat.method."""
    nested: dict[str, Any] = {}
    for line in (line for study in studies for line in study.lines.values()):
        nested.setdefault(line.dataset, {}).setdefault(line.threat, {})[line.method] = line.accuracy
    return nested


def tuning_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sample standard deviation of loss and accuracy over the tuning seeds, by epoch."""
    groups = curves.groupby(["dataset", "method", "epoch"], sort=False)[["loss", "accuracy"]]
    return groups.mean().join(groups.std().add_suffix("_std")).round(DIGITS).reset_index()


def confusion_table(rows: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Count how often each class was predicted for each, under the threat of the rows.

    Args:
        rows: dataset, threat, method, seed, label, prediction.
        class_names: K names, by label.

    Returns:
        dataset, threat, method, actual, predicted, count. The count is the mean over the tuning seeds, so that the
        counts of a class add up to its images; pairs that never occur have no row. The names are `in_a_page`.
    """
    keys = ["dataset", "threat", "method", "label", "prediction"]
    counts = rows.groupby(keys, sort=False).size() / rows.groupby(keys[:3], sort=False)["seed"].nunique()
    table = counts.round(DIGITS).rename("count").reset_index()
    order = {name: place for place, name in enumerate(dict.fromkeys(rows["method"]))}
    table = table.sort_values(keys, key=lambda column: column.map(order) if column.name == "method" else column)
    table["label"], table["prediction"] = (table[name].map(in_a_page(class_names).__getitem__) for name in keys[3:])
    return table.rename(columns={"label": "actual", "prediction": "predicted"}).reset_index(drop=True)


def in_a_page(names: list[str]) -> list[str]:
    """Return names with &, < and > as in HTML: `dvc plots` puts what it reads into the script of a page as it is.

    `html.unescape` gives a name back; the template of the plot does the same.
    """
    return [escape(name, quote=False) for name in names]
