"""Gains and losses of every method by class."""

from html import unescape

import pandas as pd

from stages.report.statistics import DIGITS, robust_rows
from stages.report.tables import Predictions, in_a_page
from stages.report.vocabulary import CLEAN, Method, Threat, reference_of


def classes_table(
    predictions: Predictions, class_names: list[str], methods: list[Method], threats: list[Threat]
) -> pd.DataFrame:
    """Return the accuracy of each class for every method, under attack its robust accuracy.

    Args:
        predictions: The rows of every threat of one data set.
        class_names: K names, by label.
        methods: In the order of the report.
        threats: Which threats to include.

    Returns:
        dataset, threat, class, method, n, accuracy, gain: fractions of the n test images of the class, over all tuning
        seeds; a gain is the accuracy less that of the reference. A class without test images has no line. The names
        are `in_a_page`.
    """
    names, reference = in_a_page(class_names), reference_of(methods)
    order = {method.name: place for place, method in enumerate(methods)}
    tables = []
    for threat in threats:
        robust = robust_rows(predictions[CLEAN.name], predictions[threat.name])
        by_class = robust.groupby(["dataset", "threat", "label", "method"])
        table = by_class.agg(n=("id", "nunique"), accuracy=("robust", "mean")).reset_index()
        table = table.sort_values(["label", "method"], key=lambda column: column.map(order).fillna(column))
        of_reference = table[table["method"] == reference.name].set_index("label")["accuracy"]
        table["gain"] = table["accuracy"] - table["label"].map(of_reference)
        table.insert(2, "class", table.pop("label").map(names.__getitem__))
        tables.append(table.round(DIGITS))
    return pd.concat(tables, ignore_index=True)


def worst_class(table: pd.DataFrame, method: Method) -> str:
    """Name the class that a method loses most on without attack, as the end of a sentence; plain text.

    Args:
        table: As `classes_table` makes it, of one data set or several.
        method: Not the reference.
    """
    clean = table[(table["threat"] == CLEAN.name) & (table["method"] == method.name)].reset_index(drop=True)
    line = clean.loc[clean["gain"].idxmin()]
    if line["gain"] >= 0:
        return "no class loses"
    where = f" of {line['dataset']}" if clean["dataset"].nunique() > 1 else ""
    both = f"{100 * line['accuracy']:.1f} % instead of {100 * (line['accuracy'] - line['gain']):.1f} %"
    return f"the class that loses most is “{unescape(line['class'])}”{where}, {both} (n = {line['n']})"
