"""All figures of the report with their captions."""

import pandas as pd

from stages.report.accuracy_figure import accuracy_figure
from stages.report.assessment_figure import assessment_figure
from stages.report.confusion_figure import confusion_figure, mistakes
from stages.report.gallery import Sample, gallery
from stages.report.page import Picture
from stages.report.tables import Results
from stages.report.tuning_figure import tuning_figure
from stages.report.vocabulary import Threat

MARKS = "Marks are accuracies, bars 95 % Wilson intervals; hollow: within noise of the hand-written prompt."
BANDS = (
    "Mean over the tuning seeds, the band one standard deviation. Each prompt is measured on what it is tuned on, so "
    "the two are not comparable with each other."
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
        tables: The tables `tuning` and `confusion`.
        samples: What the gallery shows, one per data set.
        measured: What `assess` measured on each data set.
        class_names: The names of each data set, by label.
        threats: The threats from top to bottom.
        shown: The threat of the table `confusion`.
    """
    datasets = list(class_names)
    strength = assessment_figure(measured, results, threats)
    confusion = confusion_figure(tables["confusion"], class_names, shown)
    taken = f"{shown.recipe}. {CELLS} {mistakes(tables['confusion'])}"
    return {
        "accuracy": Picture(accuracy_figure(results, datasets, threats), "Accuracy by threat and prompt", MARKS),
        "tuning": Picture(tuning_figure(tables["tuning"], datasets), "Tuning curves", BANDS),
        "gallery": Picture(gallery(samples), "Clean, adversarial, difference", SCALE),
        "assessment": Picture(strength, "The attacks against eps and steps", STRENGTH),
        "confusion": Picture(confusion, f"Confusion, {shown.name} ({shown.knowledge})", taken),
    }
