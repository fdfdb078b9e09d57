"""Gains and losses of every tuned prompt by class."""

from html import unescape

import pandas as pd

from stages.report.statistics import DIGITS
from stages.report.tables import Rows, in_a_page, robust_of
from stages.report.vocabulary import CLEAN, PROMPTS, Threat

TOLD = 3  # classes named of each kind
TUNED = tuple(prompt for prompt in PROMPTS if prompt != "hand")


def classes_table(rows: Rows, class_names: list[str], threats: list[Threat]) -> pd.DataFrame:
    """The accuracy of each class by every prompt, under attack its robust accuracy.

    Args:
        rows: The rows of every threat of one data set.
        class_names: K names, by label.
        threats: Which threats to tell of.

    Returns:
        dataset, threat, class, n, one column for each prompt, gain_PROMPT for each tuned one: fractions of the n test
        images of the class, over all tuning seeds; a gain is the prompt less hand. A class without test images has no
        line. The names are `in_a_page`.
    """
    tables = []
    for threat in threats:
        judged = robust_of(rows, rows[threat.name])
        table = judged.pivot_table(index="label", columns="prompt", values="robust", aggfunc="mean")[list(PROMPTS)]
        table = table.assign(**{f"gain_{prompt}": table[prompt] - table["hand"] for prompt in TUNED}).round(DIGITS)
        table.insert(0, "n", judged.groupby("label")["id"].nunique())
        names = pd.Series(in_a_page(class_names))[table.index].to_numpy()
        (dataset,) = judged["dataset"].unique()
        for place, (column, value) in enumerate({"dataset": dataset, "threat": threat.name, "class": names}.items()):
            table.insert(place, column, value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def extremes(table: pd.DataFrame) -> str:
    """The largest gains and losses of each tuned prompt, for each data set and threat; plain text."""
    told = []
    for (dataset, threat), part in table.groupby(["dataset", "threat"], sort=False):
        for prompt in TUNED:
            gain = f"gain_{prompt}"
            ordered = part.sort_values(gain, ascending=False, kind="stable")
            for word, lines in (("gains", ordered.head(TOLD)), ("losses", ordered.iloc[::-1].head(TOLD))):
                lines = lines[lines[gain] > 0 if word == "gains" else lines[gain] < 0]
                said = [f"“{unescape(line[0])}” {whole_points(line[1])}" for line in lines[["class", gain]].to_numpy()]
                told.append(f"{dataset}, {threat}, {PROMPTS[prompt]}, largest {word}: {', '.join(said) or 'none'}")
    return f"In points, {'; '.join(told)}."


def prices(table: pd.DataFrame) -> list[str]:
    """For each tuned prompt the class that it loses most on without attack; sentences of plain text."""
    return [f"{CLEAN.name}, by class: {PROMPTS[prompt]} {worst_class(table, prompt)}." for prompt in TUNED]


def worst_class(table: pd.DataFrame, prompt: str) -> str:
    """Say which class a tuned prompt loses most on without attack, with both accuracies, as the end of a sentence.

    Args:
        table: As `classes_table` makes it, of one data set or several.
        prompt: The tuned prompt.
    """
    clean = table[table["threat"] == CLEAN.name].reset_index(drop=True)
    line = clean.loc[clean[f"gain_{prompt}"].idxmin()]
    if line[f"gain_{prompt}"] >= 0:
        return "loses on no class"
    where = f" of {line['dataset']}" if clean["dataset"].nunique() > 1 else ""
    both = f"{100 * line[prompt]:.1f} % instead of {100 * line['hand']:.1f} % (n = {line['n']})"
    return f"loses most on “{unescape(line['class'])}”{where}: {both}"


def whole_points(share: float) -> str:
    """Points with their sign, without decimals: classes are small."""
    return f"{100 * share:+.0f}".replace("-", "−")
