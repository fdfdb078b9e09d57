"""Several studies side by side: data sets with their mean, both halves of the classes with their harmonic mean."""

from typing import NamedTuple

import pandas as pd

from stages.report.statistics import DIGITS
from stages.report.tables import Results
from stages.report.vocabulary import Threat
from stages.report.wording import SUBSET, percent


class Overview(NamedTuple):
    """Accuracies of the same methods and threats (rows) in several studies (columns, a mean in the last one)."""

    title: str
    studies: list[Results]
    accuracies: pd.DataFrame

    def rows(self, threat: Threat) -> list[tuple[str, list[tuple[str, bool]]]]:
        """Return the label of each method, and in each column its accuracy and whether that is the best."""
        part = (100 * self.accuracies.loc[threat.name]).round(1)
        best = part.max()
        return [
            (one.label, [(percent(value / 100), value == best[name]) for name, value in part.loc[one.name].items()])
            for one in self.studies[0].methods
        ]

    def mark(self, threat: Threat) -> str:
        """Return the mark of a subset if a threat attacks one in any of the studies."""
        return SUBSET * any(line.n < study.images for study in self.studies for line in study.of_threat(threat))


def overview(title: str, studies: list[Results]) -> Overview:
    """Return the accuracies of several data sets, and their mean."""
    table = side_by_side({study.title: study for study in studies})
    return Overview(title, studies, table.assign(mean=table.mean(axis=1)))


def harmonic(dataset: str, base: Results, new: Results) -> Overview:
    """Return the accuracies on both halves of the classes, and their harmonic mean H, which is 0 where one is.

    Source: CoCoOp (Zhou et al. 2022), sec. 4.1, after Xian et al. 2017.
    """
    table = side_by_side({"base": base, "new": new})
    product, total = table.prod(axis=1), table.sum(axis=1)
    title = f"{dataset}: tuned on the base classes, evaluated on both halves"
    return Overview(title, [base, new], table.assign(H=(2 * product / total).where(total > 0, 0.0)))


def side_by_side(studies: dict[str, Results]) -> pd.DataFrame:
    """Return accuracies by threat and method, a column for each study."""
    columns = {name: {key: line.accuracy for key, line in study.lines.items()} for name, study in studies.items()}
    return pd.DataFrame(columns).rename_axis(["threat", "method"])


def harmonic_metrics(halves: dict[str, Overview]) -> dict[str, dict]:
    """Return the harmonic means, nested `<dataset>_base_to_new`.threat.method."""
    return {
        f"{dataset}_base_to_new": {
            threat: {method: {"accuracy": mean} for method, mean in means.droplevel("threat").items()}
            for threat, means in found.accuracies["H"].round(DIGITS).groupby("threat", sort=False)
        }
        for dataset, found in halves.items()
    }
