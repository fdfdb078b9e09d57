"""The tidy tables behind every figure, and the nested metrics."""

from html import escape
from typing import Any, NamedTuple

import pandas as pd

from stages.report.significance import comparisons
from stages.report.statistics import DIGITS, accuracies, clean_accuracies, robust_rows
from stages.report.vocabulary import CLEAN, Threat

BASELINES = ("hand", "coop", "advpt")  # of the columns p_...
SUMMARISED = ("hand", "advpt", "advpt_refreshed")
Rows = dict[str, pd.DataFrame]  # threat name -> rows, `clean` among them


class Accuracy(NamedTuple):
    """One line of the accuracy table; accuracies are fractions, see `statistics.accuracies`.

    clean_accuracy is that on the same images without attack (behind a defence, through it), by the same tuning seeds.
    p_hand, p_coop and p_advpt are what `significance.comparisons` says of the prompt against the hand-written one,
    CoOp and AdvPT; NaN where it is not compared.
    """

    dataset: str
    threat: str
    knowledge: str
    prompt: str
    accuracy: float
    low: float
    high: float
    std: float
    n: int
    seeds: int
    clean_accuracy: float
    p_hand: float
    p_coop: float
    p_advpt: float


Results = dict[tuple[str, str, str], Accuracy]  # by dataset, threat, prompt


def results_of(rows: dict[str, Rows], threats: list[Threat]) -> Results:
    """The accuracy of every data set, threat and prompt; robust accuracy wherever there is an attack.

    A threat through a defence is joined with the clean images through that same defence, the rows `clean+<defence>`.
    """
    results = {}
    for dataset, by_threat in rows.items():
        judged = {threat.name: robust_of(by_threat, by_threat[threat.name]) for threat in threats}
        tested = comparisons(judged)
        for threat in threats:
            clean = clean_accuracies(judged[threat.name])
            for line in accuracies(judged[threat.name]).itertuples(index=False):
                p = (tested.get((threat.name, line.prompt, baseline), float("nan")) for baseline in BASELINES)
                about = (dataset, threat.name, threat.knowledge, *line, float(clean[line.prompt]), *p)
                results[dataset, threat.name, line.prompt] = Accuracy(*about)
    return results


def robust_of(by_threat: Rows, attacked: pd.DataFrame) -> pd.DataFrame:
    """The rows of a threat, joined with the clean rows of its own defence."""
    (defence,) = attacked["defence"].unique()
    return robust_rows(by_threat[CLEAN.name if defence == "none" else f"{CLEAN.name}+{defence}"], attacked)


def accuracy_table(results: Results) -> pd.DataFrame:
    """The results as a table."""
    return pd.DataFrame(results.values(), columns=Accuracy._fields)


def metrics_of(results: Results) -> dict[str, Any]:
    """The results nested dataset.threat.prompt; an undefined std is None, p stands where hand-written is compared."""
    nested: dict[str, Any] = {}
    for (dataset, threat, prompt), line in results.items():
        values = {
            name: getattr(line, name) for name in ("accuracy", "n", "low", "high", "std", "seeds", "clean_accuracy")
        }
        values["std"] = None if pd.isna(line.std) else line.std
        if not pd.isna(line.p_hand):
            values["p"] = line.p_hand
        nested.setdefault(dataset, {}).setdefault(threat, {})[prompt] = values
    return nested


def summary_of(results: Results, datasets: list[str], threats: list[Threat]) -> dict[str, Any]:
    """What `dvc exp show` and `dvc metrics diff` compare: few accuracies, nested dataset.threat.prompt."""
    return {
        dataset: {
            threat.name: {prompt: results[dataset, threat.name, prompt].accuracy for prompt in SUMMARISED}
            for threat in threats
        }
        for dataset in datasets
    }


def tuning_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation over the tuning seeds.

    Args:
        curves: dataset, prompt, seed, epoch, loss, accuracy.

    Returns:
        One row per data set, prompt and epoch: loss, accuracy, loss_std, accuracy_std.
    """
    groups = curves.groupby(["dataset", "prompt", "epoch"], sort=False)[["loss", "accuracy"]]
    return groups.mean().join(groups.std().add_suffix("_std")).round(DIGITS).reset_index()


def confusion_table(rows: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """How often each class was taken for which, under the threat of the rows.

    Args:
        rows: dataset, threat, prompt, seed, label, prediction.
        class_names: K names, by label.

    Returns:
        dataset, threat, prompt, actual, predicted, count. The count is the mean over the tuning seeds, so that the
        counts of a class add up to its images; pairs that never occur have no row. The names are `in_a_page`.
    """
    keys = ["dataset", "threat", "prompt", "label", "prediction"]
    counts = rows.groupby(keys).size() / rows.groupby(keys[:3])["seed"].nunique()
    table = counts.round(DIGITS).rename("count").reset_index()
    table["label"], table["prediction"] = (table[name].map(in_a_page(class_names).__getitem__) for name in keys[3:])
    return table.rename(columns={"label": "actual", "prediction": "predicted"})


def in_a_page(names: list[str]) -> list[str]:
    """Names with &, < and > written as in HTML: `dvc plots` lays what it reads into the script of a page as it is.

    `html.unescape` gives a name back; the template of the plot does the same.
    """
    return [escape(name, quote=False) for name in names]
