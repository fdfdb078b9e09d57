"""All figures of the report."""

import pandas as pd

from stages.report.accuracy_figure import accuracy_figure
from stages.report.assessment_figure import assessment_figure
from stages.report.classes_figure import classes_figure
from stages.report.confusion_figure import confusion_figure
from stages.report.drift_figure import drift_figure
from stages.report.eps_figure import eps_figure
from stages.report.gallery import Sample, gallery
from stages.report.pca_figure import pca_figure
from stages.report.style import empty_figure
from stages.report.tables import Results
from stages.report.tokens_figure import tokens_figure
from stages.report.tradeoff_figure import tradeoff_figure
from stages.report.tuning_figure import tuning_figure
from stages.report.vocabulary import CLEAN, Method, Threat

Interpretation = dict[str, dict[str, pd.DataFrame]]  # the tables of the stage `interpret`, by data set and name


def pictures_of(
    studies: list[Results],
    tables: dict[str, pd.DataFrame],
    samples: list[Sample],
    measured: dict[str, pd.DataFrame],
    class_names: dict[str, list[str]],
    headline: Threat,
    shown: Method,
) -> dict[str, bytes]:
    """Draw the figures on accuracy, by the names of their files.

    Where there is room for one method beside the reference, it is `shown`; `headline` is the threat of the table
    `confusion`, and of `classes` beside `clean`.
    """
    methods, reference = studies[0].methods, studies[0].reference
    compared = [CLEAN] if headline is CLEAN else [CLEAN, headline]
    confused = list(dict.fromkeys([reference, shown]))
    return {
        "eps": eps_figure(studies),
        "accuracy": accuracy_figure(studies),
        "tradeoff": tradeoff_figure(studies),
        "classes": classes_figure(tables["classes"], list(class_names), compared, methods, shown),
        "gallery": gallery(samples),
        "confusion": confusion_figure(tables["confusion"], class_names, headline, confused),
        "assessment": assessment_figure(measured, studies, shown),
        "tuning": tuning_figure(tables["tuning"], list(class_names), methods),
    }


def interpretation_pictures(
    interpretation: Interpretation, class_names: dict[str, list[str]], methods: list[Method]
) -> dict[str, bytes]:
    """Draw the figures on what was learnt, by the names of their files."""
    tokens, cosines, pca = (
        {dataset: tables[name] for dataset, tables in interpretation.items()}
        for name in ("nearest_tokens", "cosines", "pca")
    )
    if all(table.empty for table in tokens.values()):
        pictures = dict.fromkeys(("nearest_tokens", "text_feature_drift"), empty_figure("no context was tuned"))
    else:
        pictures = {
            "nearest_tokens": tokens_figure(tokens, methods),
            "text_feature_drift": drift_figure(cosines, methods),
        }
    return pictures | {"pca": pca_figure(pca, class_names, methods)}


def interpretation_notes(interpretation: Interpretation, methods: list[Method]) -> dict[str, str]:
    """Return what the captions of figures say in numbers, by the names of their files."""
    counts = {"nearest_tokens": nearer_than_random, "text_feature_drift": mean_drift}
    return {
        name: " ".join(f"{dataset}: {count(tables[name], methods)}." for dataset, tables in interpretation.items())
        for name, count in counts.items()
    }


def interpretation_tables(interpretation: Interpretation) -> dict[str, pd.DataFrame]:
    """Return the tables `nearest_tokens` and `text_feature_drift` of all data sets, each as one."""
    by_name = {
        name: {dataset: tables[name] for dataset, tables in interpretation.items()}
        for name in ("nearest_tokens", "text_feature_drift")
    }
    return {name: pd.concat(tables, names=["dataset"]).reset_index(level="dataset") for name, tables in by_name.items()}


def nearer_than_random(tokens: pd.DataFrame, methods: list[Method]) -> str:
    """Count the vectors nearer to a token than a random one of their size, over all tuning seeds; plain text."""
    first = tokens[tokens["rank"] == 1]
    counts = []
    for method in (one for one in methods if one.name in set(first["method"])):
        lines = first[first["method"] == method.name]
        near, alike = (lines[lines["measure"] == measure] for measure in ("euclidean", "cosine"))
        counts.append(
            f"of the {len(near)} vectors of {method.label}, {(near['value'] < near['random']).sum()} are nearer to one "
            f"of the {near['among'].iloc[0]} tokens than random ones ({(alike['value'] > alike['random']).sum()} by "
            f"cosine), and {(near['word'] == near['start_word']).sum()} are still nearest to their initial token"
        )
    return "; ".join(counts)


def mean_drift(drift: pd.DataFrame, methods: list[Method]) -> str:
    """Say how far the text features moved from the reference, and how much alike, over all seeds; plain text."""
    means = drift.groupby("method")[["cosine", "common"]].mean()
    near, alike = (
        ", ".join(f"{one.label} {column[one.name]:.2f}" for one in methods if one.name in column)
        for column in (means["cosine"], means["common"])
    )
    return (
        f"mean cosine between a tuned text feature and that of the reference: {near}; between the move of a class "
        f"and the mean move of all: {alike} (1: all moved the same way)"
    )
