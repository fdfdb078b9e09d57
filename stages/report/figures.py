"""All figures of the report with their captions."""

from dataclasses import dataclass

import pandas as pd

from stages.report.accuracy_figure import accuracy_figure
from stages.report.assessment_figure import assessment_figure
from stages.report.classes_figure import classes_figure
from stages.report.confusion_figure import confusion_figure
from stages.report.drift_figure import drift_figure
from stages.report.eps_figure import eps_figure
from stages.report.gallery import Sample, gallery
from stages.report.pca_figure import pca_figure
from stages.report.tables import Results
from stages.report.tokens_figure import tokens_figure
from stages.report.tradeoff_figure import tradeoff_figure
from stages.report.tuning_figure import tuning_figure
from stages.report.vocabulary import CLEAN, Method, Threat

Interpretation = dict[str, dict[str, pd.DataFrame]]  # the tables of the stage `interpret`, by data set and name
HOLLOW = "Hollow marks are within noise of {}."
ACCURACY = "Marks are accuracies, bars 95 % Wilson intervals."
EPS = (
    "Lines start at the clean accuracy on the attacked images, eps 0, and join the strongest attacks of each eps; bars "
    "are 95 % Wilson intervals."
)
ASSESSMENT = (
    "If an attack works, robust accuracy falls to zero as eps grows, hardly falls with more steps, and is far below "
    "the accuracy under random noise of the same size. Curves, AutoAttack and Square use the images of the assessment; "
    "oblivious attacks use all test images."
)
TRADEOFF = (
    "Up is more robust, right is better on the same images without attack. A grey line joins the methods under one "
    "threat; crosses are 95 % Wilson intervals."
)
GALLERY = (
    "The images are not chosen by outcome. Grey in a difference is no change, black and white are the ends of the "
    "ball, in 1/255 of the pixel range. Below an adversarial image stand the predictions (first tuning seed). Images "
    "of an adaptive threat were crafted through {}."
)
CLASSES = (
    "A class has few images: bars are their 95 % Wilson intervals, and single classes are not tested. Of more than 20 "
    "classes, each panel shows the ten largest gains and the ten largest losses of {}; classes.csv has all."
)
CONFUSION = (
    "Rows are actual classes, columns predicted ones, in percent of the actual class, over all tuning seeds. At most "
    "20 classes are shown: those that {} misses most."
)
TUNING = (
    "Mean over the tuning seeds, the band is one standard deviation. Each method is measured on its own training "
    "data, so the methods cannot be compared with each other. Methods tuned in rounds show the last one."
)
NEAREST_TOKENS = (
    "Each line is one context vector (first tuning seed). In quotes: the token nearest to it now, and the token "
    "nearest to its initial value. The coloured mark is the distance to the nearest token; 0 would be the token "
    "itself. The black bar is that distance for a random vector of the same size. If tuning had nothing to do with "
    "tokens, about half of the vectors would be nearer to one than their random counterparts. This is an illustration: "
    "a vector need not mean anything, as the authors of CoOp say of theirs. Of methods with a context for each class, "
    "the figure shows the first class; the counts, and nearest_tokens.csv, cover all tuning seeds and at most ten "
    "classes."
)
DRIFT = (
    "Each cell is the cosine between the text features of two classes: 1 is the same direction, 0 is unrelated (first "
    "tuning seed, at most the first 40 classes). Above each map is the mean over pairs: if it grows, tuning has drawn "
    "the classes together. The maps do not show whether images lie near the correct text."
)
PCA = (
    "Unit features of training images, the same ones clean and attacked (the bank). Large marks are text features "
    "(first tuning seed), the number beside one is its class. The plane is fitted to the clean images alone and shows "
    "the stated share of the squared distances from their mean: points that coincide here may be far apart."
)


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        png: The picture.
        title: A few words.
        caption: How to read it.
    """

    png: bytes
    title: str
    caption: str


def pictures_of(
    studies: list[Results],
    tables: dict[str, pd.DataFrame],
    samples: list[Sample],
    measured: dict[str, pd.DataFrame],
    class_names: dict[str, list[str]],
    headline: Threat,
    shown: Method,
) -> dict[str, Picture]:
    """Draw the figures on accuracy, by the names of their files.

    Args:
        studies: The accuracies of each data set, with the same methods and threats.
        tables: The tables `tuning`, `confusion` and `classes`.
        samples: The images of the gallery, one sample per data set.
        measured: The measurements of `assess` on each data set.
        class_names: The names of each data set, by label.
        headline: The threat of the table `confusion`, and of `classes` beside `clean`.
        shown: The method that is shown where there is room for one beside the reference.
    """
    datasets, methods, reference = list(class_names), studies[0].methods, studies[0].reference
    hollow = HOLLOW.format(reference.label)
    compared = [CLEAN] if headline is CLEAN else [CLEAN, headline]
    classes = classes_figure(tables["classes"], datasets, compared, methods, shown)
    confusion = confusion_figure(tables["confusion"], class_names, headline, list(dict.fromkeys([reference, shown])))
    confused = f"{headline.recipe}. {CONFUSION.format(reference.label)}"
    assessment = assessment_figure(measured, studies, shown)
    tuning = tuning_figure(tables["tuning"], datasets, methods)
    return {
        "accuracy": Picture(accuracy_figure(studies), "Accuracy by threat and method", f"{ACCURACY} {hollow}"),
        "eps": Picture(eps_figure(studies), "Robust accuracy against eps", f"{EPS} {hollow}"),
        "assessment": Picture(assessment, "The attacks against eps and steps", ASSESSMENT),
        "tradeoff": Picture(tradeoff_figure(studies), "Clean against robust accuracy", f"{TRADEOFF} {hollow}"),
        "gallery": Picture(gallery(samples), "Clean, adversarial, difference", GALLERY.format(shown.label)),
        "classes": Picture(classes, "Accuracy by class", CLASSES.format(shown.label)),
        "confusion": Picture(confusion, f"Confusion, {headline.title}", confused),
        "tuning": Picture(tuning, "Tuning curves", TUNING),
    }


def interpretation_pictures(
    interpretation: Interpretation, class_names: dict[str, list[str]], methods: list[Method]
) -> dict[str, Picture]:
    """Draw the figures on what was learnt, by the names of their files; none without a tuned context.

    Args:
        interpretation: The tables of the stage `interpret`.
        class_names: The names of each data set, by label.
        methods: All methods of the report.
    """
    tokens, cosines, pca = (
        {dataset: tables[name] for dataset, tables in interpretation.items()}
        for name in ("nearest_tokens", "cosines", "pca")
    )
    projection = Picture(pca_figure(pca, class_names, methods), "Images and text features in two dimensions", PCA)
    if all(table.empty for table in tokens.values()):
        return {"pca": projection}
    counts = " ".join(f"{dataset}: {nearer_than_random(table, methods)}." for dataset, table in tokens.items())
    moved = " ".join(
        f"{dataset}: {mean_drift(tables['text_feature_drift'], methods)}." for dataset, tables in interpretation.items()
    )
    nearest = Picture(tokens_figure(tokens, methods), "Tokens near the context vectors", f"{NEAREST_TOKENS} {counts}")
    drift = Picture(drift_figure(cosines, methods), "Cosines between the text features", f"{DRIFT} {moved}")
    return {"nearest_tokens": nearest, "text_feature_drift": drift, "pca": projection}


def interpretation_tables(interpretation: Interpretation) -> dict[str, pd.DataFrame]:
    """Return the tables `nearest_tokens` and `text_feature_drift` of all data sets, each as one."""
    joined = {}
    for name in ("nearest_tokens", "text_feature_drift"):
        parts = {dataset: tables[name] for dataset, tables in interpretation.items()}
        joined[name] = pd.concat(parts, names=["dataset"]).reset_index(level="dataset").reset_index(drop=True)
    return joined


def nearer_than_random(tokens: pd.DataFrame, methods: list[Method]) -> str:
    """Count the vectors nearer to a token than a random one of their size, over all tuning seeds; plain text."""
    first = tokens[tokens["rank"] == 1]
    counts = []
    for method in methods:
        lines = first[first["method"] == method.name]
        if lines.empty:
            continue
        euclidean, cosine = (lines[lines["measure"] == measure] for measure in ("euclidean", "cosine"))
        nearer = (euclidean["value"] < euclidean["random"]).sum()
        by_cosine = (cosine["value"] > cosine["random"]).sum()
        unmoved = (euclidean["word"] == euclidean["start_word"]).sum()
        counts.append(
            f"of the {len(euclidean)} vectors of {method.label}, {nearer} are nearer to one of the "
            f"{euclidean['among'].iloc[0]} tokens than random ones ({by_cosine} by cosine), and {unmoved} are still "
            "nearest to their initial token"
        )
    return "; ".join(counts)


def mean_drift(drift: pd.DataFrame, methods: list[Method]) -> str:
    """Say how far the text features moved from the reference, and how much alike, over all seeds; plain text."""
    means = drift.groupby("method")[["cosine", "common"]].mean()
    near, alike = (
        ", ".join(f"{one.label} {means.loc[one.name, column]:.2f}" for one in methods if one.name in means.index)
        for column in ("cosine", "common")
    )
    return (
        f"mean cosine between a tuned text feature and that of the reference: {near}; between the move of a class "
        f"and the mean move of all: {alike} (1: all moved the same way)"
    )
