"""All figures of the report with their captions."""

import pandas as pd

from stages.report.accuracy_figure import accuracy_figure
from stages.report.assessment_figure import assessment_figure
from stages.report.classes import extremes
from stages.report.classes_figure import classes_figure
from stages.report.confusion_figure import confusion_figure, mistakes
from stages.report.eps_figure import eps_figure
from stages.report.gallery import Sample, gallery
from stages.report.page import Picture
from stages.report.tables import Results
from stages.report.tradeoff_figure import tradeoff_figure
from stages.report.tuning_figure import tuning_figure
from stages.report.vocabulary import CLEAN, Threat

MARKS = "Marks are accuracies, bars 95 % Wilson intervals; hollow: within noise of the hand-written prompt."
BANDS = (
    "Mean over the tuning seeds, the band one standard deviation. Each prompt is measured on what it is tuned on, so "
    "they are not comparable with each other. Of the refreshed bank the last round."
)
SCALE = (
    "Not chosen by outcome. Grey in a difference is no change, black and white are the ends of the ball, in 1/255 of "
    "the pixel range. Below an adversarial image, what the prompts take it for (first tuning seed)."
)
STRENGTH = (
    "What an attack that can be trusted leaves falls to nothing as eps grows, hardly falls with more steps, and is far "
    "below what random noise of the same size leaves. Curves, AutoAttack and Square: on the images of the assessment; "
    "oblivious attacks: on all test images."
)
BY_EPS = (
    "Lines begin at clean accuracy on the images attacked, eps 0, and join the strongest attack of each eps; bars are "
    "95 % Wilson intervals; hollow: within noise of the hand-written prompt."
)
PRICE = (
    "Up is more robust, right is better on the same images without attack (behind a defence, through it). A grey line "
    "joins the prompts under one threat; crosses are 95 % Wilson intervals; hollow: within noise of the hand-written "
    "prompt."
)
BY_CLASS = (
    "A class has few images: bars are 95 % Wilson intervals for them, and single classes are not tested. Of more than "
    "20 classes, each panel shows the ten largest gains and ten largest losses of AdvPT; classes.csv holds all."
)
CELLS = (
    "Rows are actual classes, columns predicted ones, in percent of the actual class, over all tuning seeds. At most "
    "20 classes: those that the hand-written prompt misses most."
)


def pictures_of(
    results: Results,
    tables: dict[str, pd.DataFrame],
    samples: list[Sample],
    measured: dict[str, pd.DataFrame],
    class_names: dict[str, list[str]],
    threats: list[Threat],
    shown: Threat,
) -> dict[str, Picture]:
    """Draws the figures, by the names of their files.

    Args:
        results: Every accuracy.
        tables: The tables `tuning`, `confusion` and `classes`.
        samples: What the gallery shows, one per data set.
        measured: What `assess` measured on each data set.
        class_names: The names of each data set, by label.
        threats: The threats from top to bottom.
        shown: The threat of the table `confusion`, and of `classes` beside `clean`.
    """
    datasets = list(class_names)
    compared = [CLEAN] if shown is CLEAN else [CLEAN, shown]
    classes = classes_figure(tables["classes"], datasets, compared)
    strength = assessment_figure(measured, results, threats)
    confusion = confusion_figure(tables["confusion"], class_names, shown)
    taken = f"{shown.recipe}. {CELLS} {mistakes(tables['confusion'])}"
    return {
        "accuracy": Picture(accuracy_figure(results, datasets, threats), "Accuracy by threat and prompt", MARKS),
        "eps": Picture(eps_figure(results, datasets, threats), "Robust accuracy against eps", BY_EPS),
        "assessment": Picture(strength, "The attacks against eps and steps", STRENGTH),
        "tradeoff": Picture(tradeoff_figure(results, datasets, threats), "Clean against robust accuracy", PRICE),
        "gallery": Picture(gallery(samples), "Clean, adversarial, difference", SCALE),
        "classes": Picture(classes, "Gains and losses by class", f"{BY_CLASS} {extremes(tables['classes'])}"),
        "confusion": Picture(confusion, f"Confusion, {shown.name} ({shown.knowledge})", taken),
        "tuning": Picture(tuning_figure(tables["tuning"], datasets), "Tuning curves", BANDS),
    }
