"""Numbers as the page, the model card and the README write them; plain text."""

from html import unescape

import pandas as pd

from stages.report.comparison import is_noise
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import CLEAN, Method

SUBSET, NOISE = "†", "°"
PRICE = 0.25  # a class that loses less is not named
MOST_CLASSES = 4  # that are named


def percent(share: float) -> str:
    """Return a fraction in percent, with one digit."""
    return f"{100 * share:.1f}"


def signed(share: float, digits: int = 1) -> str:
    """Return a difference of fractions in points, with its sign."""
    return f"{100 * share:+.{digits}f}".replace("-", "−")


def spread(accuracy: float, std: float) -> str:
    """Return an accuracy, with its standard deviation where there are several seeds."""
    return percent(accuracy) + ("" if pd.isna(std) else f" ± {percent(std)}")


def marked(study: Results, line: Accuracy, interval: str = "") -> str:
    """Return an accuracy with its spread and, if given, its interval; marked if it is within noise of the reference."""
    return f"{spread(line.accuracy, line.std)}{interval}{NOISE * is_noise(study, line)}"


def size(study: Results, line: Accuracy) -> str:
    """Return the number of images, with a mark if it is a subset of the test images."""
    return f"{line.n}{SUBSET * (line.n < study.images)}"


def clean_on_the_same(study: Results, line: Accuracy) -> str:
    """Return the clean accuracy on the images of a subset; empty if it is none."""
    return f"clean {percent(line.clean_accuracy)}" if line.n < study.images else ""


def footnote(study: Results) -> str:
    """Explain the mark of a subset; empty if no threat is marked."""
    sizes = sorted({line.n for line in study.lines.values()} - {study.images})
    if not sizes:
        return ""
    count = " or ".join(map(str, sizes))
    return f"{SUBSET}: {count} of {study.images} test images, a class-balanced draw; clean: the same images."


def price(classes: pd.DataFrame, method: Method) -> str:
    """Name the classes that lose 25 points or more on clean images, the largest losses first; empty if none does.

    Args:
        classes: As `classes.classes_table` makes it, of one data set.
        method: The method.
    """
    own = classes[(classes["method"] == method.name) & (classes["threat"] == CLEAN.name)]
    lost = own[own["gain"] <= -PRICE].sort_values("gain")
    named = [
        f"{unescape(line['class'])} {percent(line['accuracy'] - line['gain'])} → {percent(line['accuracy'])}"
        for line in lost.head(MOST_CLASSES).to_dict("records")
    ]
    more = len(lost) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
