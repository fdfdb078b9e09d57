"""What AdvPT gains and loses in each class."""

from html import unescape

import pandas as pd

from stages.report.statistics import DIGITS
from stages.report.tables import Rows, in_a_page, robust_of
from stages.report.vocabulary import PROMPTS, Threat

TOLD = 3  # classes named of each kind


def classes_table(rows: Rows, class_names: list[str], threats: list[Threat]) -> pd.DataFrame:
    """The accuracy of each class by every prompt, under attack its robust accuracy.

    Args:
        rows: The rows of every threat of one data set.
        class_names: K names, by label.
        threats: Which threats to tell of.

    Returns:
        dataset, threat, class, n, one column for each prompt, gain: fractions of the n test images of the class, over
        all tuning seeds; gain is advpt less hand. A class without test images has no line. The names are
        `in_a_page`.
    """
    tables = []
    for threat in threats:
        judged = robust_of(rows, rows[threat.name])
        table = judged.pivot_table(index="label", columns="prompt", values="robust", aggfunc="mean")[list(PROMPTS)]
        table = table.assign(gain=table["advpt"] - table["hand"]).round(DIGITS)
        table.insert(0, "n", judged.groupby("label")["id"].nunique())
        names = pd.Series(in_a_page(class_names))[table.index].to_numpy()
        (dataset,) = judged["dataset"].unique()
        for place, (column, value) in enumerate({"dataset": dataset, "threat": threat.name, "class": names}.items()):
            table.insert(place, column, value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def extremes(table: pd.DataFrame) -> str:
    """The largest gains and losses in words, for each data set and threat; plain text."""
    told = []
    for (dataset, threat), part in table.groupby(["dataset", "threat"], sort=False):
        ordered = part.sort_values("gain", ascending=False, kind="stable")
        for word, lines in (("gains", ordered.head(TOLD)), ("losses", ordered.iloc[::-1].head(TOLD))):
            lines = lines[lines["gain"] > 0 if word == "gains" else lines["gain"] < 0]
            said = [f"“{unescape(line[0])}” {whole_points(line[1])}" for line in lines[["class", "gain"]].to_numpy()]
            told.append(f"{dataset}, {threat}, largest {word}: {', '.join(said) or 'none'}")
    return f"In points, {'; '.join(told)}."


def whole_points(share: float) -> str:
    """Points with their sign, without decimals: classes are small."""
    return f"{100 * share:+.0f}".replace("-", "−")
