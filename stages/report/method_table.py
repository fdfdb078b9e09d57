"""The main table: methods are rows, sorted by what the strongest adaptive attack of one eps leaves."""

from typing import NamedTuple

import pandas as pd

from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import CLEAN, Method
from stages.report.wording import price, size


class Row(NamedTuple):
    """One method at one eps: its accuracies without attack and under the strongest oblivious and adaptive threats."""

    method: Method
    clean: Accuracy
    oblivious: Accuracy | None
    adaptive: Accuracy | None
    price: str

    @property
    def gap(self) -> float | None:
        """Accuracy lost to the adaptive attacker beyond the oblivious one, on the same images with the same seeds."""
        if self.oblivious is None or self.adaptive is None:
            return None
        return self.adaptive.oblivious_accuracy - self.adaptive.accuracy


class MethodTable(NamedTuple):
    """The methods of a study at one eps."""

    study: Results
    eps: float  # in 1/255; 0 if no threat was run
    rows: list[Row]  # the most robust method first; those without an adaptive number last

    def sizes(self, column: str) -> str:
        """Return the number of images of a column, `clean`, `oblivious` or `adaptive`; empty without any."""
        lines = [line for row in self.rows if (line := getattr(row, column))]
        return "/".join(dict.fromkeys(size(self.study, line) for line in lines))

    def threats(self, knowledge: str) -> list[str]:
        """Return the names of the threats of the eps that one kind of attacker has tried."""
        return [
            one.name
            for one in self.study.threats
            if one.eps == self.eps and one.knowledge == knowledge and not one.is_worst
        ]


def method_tables(study: Results, classes: pd.DataFrame) -> list[MethodTable]:
    """Return one table for each eps."""
    made = []
    for eps in sorted({threat.eps for threat in study.threats if threat.attack}) or [0.0]:
        rows = []
        for one in study.methods:
            oblivious, adaptive = (study.strongest(one, kind).get(eps) for kind in ("oblivious", "adaptive"))
            rows.append(Row(one, study.line(CLEAN, one), oblivious, adaptive, price(classes, one)))
        rows.sort(key=lambda row: -row.adaptive.accuracy if row.adaptive else 1)
        made.append(MethodTable(study, eps, rows))
    return made
