"""The main table: methods are rows, sorted by what the strongest adaptive attack of one eps leaves."""

from typing import NamedTuple

import pandas as pd

from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import CLEAN, Method
from stages.report.wording import price, size


class Row(NamedTuple):
    """One method at one eps.

    Attributes:
        method: The method.
        clean: Its accuracy without attack.
        oblivious: That under the strongest oblivious threat of the eps, if there is one.
        adaptive: That under the strongest adaptive threat of the eps, if there is one.
        price: Classes that lose much without attack.
    """

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
    """The methods of a study at one eps.

    Attributes:
        study: The study.
        eps: In 1/255; 0 if no threat was run.
        rows: The most robust method first; those without an adaptive number last.
    """

    study: Results
    eps: float
    rows: list[Row]

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
        rows = [
            Row(
                method=one,
                clean=study.line(CLEAN, one),
                oblivious=study.strongest(one, "oblivious").get(eps),
                adaptive=study.strongest(one, "adaptive").get(eps),
                price=price(classes, one),
            )
            for one in study.methods
        ]
        rows.sort(key=lambda row: -row.adaptive.accuracy if row.adaptive else 1)
        made.append(MethodTable(study, eps, rows))
    return made
