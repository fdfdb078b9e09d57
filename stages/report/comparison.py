"""The one decision of the report: is a difference between two methods a gain, a loss, or noise?"""

import math
from typing import NamedTuple

from stages.report.significance import LEVEL
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import baseline_of

EFFECTS = {  # its mark, its meaning
    "gain": ("▲", "better than {}"),
    "loss": ("▼", "worse than {}"),
    "noise": ("≈", "within noise of {}"),
}


class Comparison(NamedTuple):
    """Two methods under one threat."""

    line: Accuracy  # of the method that is compared
    other: Accuracy  # of the method that it is compared with
    label: str  # label of that other method
    p: float  # corrected, of the paired test

    @property
    def points(self) -> float:
        """Return the gain of the method, in percentage points."""
        return 100 * (self.line.accuracy - self.other.accuracy)

    @property
    def exceeds_seeds(self) -> bool:
        """Return whether the difference exceeds twice the standard deviation over both's seeds; one seed has none."""
        spread = math.hypot(*(0 if math.isnan(line.std) else line.std for line in (self.line, self.other)))
        return abs(self.line.accuracy - self.other.accuracy) > 2 * spread

    @property
    def effect(self) -> str:
        """`gain` or `loss`, or `noise` where other test images or tuning again could turn the difference.

        The former is what the paired test of `significance` says, corrected for all tests of the study.
        """
        if self.p >= LEVEL or not self.exceeds_seeds:
            return "noise"
        return "gain" if self.points > 0 else "loss"

    @property
    def reason(self) -> str:
        """Return the reason why a difference is noise or not, in a few words."""
        p = f"p = {self.p:.2g}" if self.p >= 0.001 else "p < 0.001"
        if self.p < LEVEL and not self.exceeds_seeds:
            return f"{p}, but less than twice the spread over tuning seeds"
        return p

    @property
    def meaning(self) -> str:
        """The effect in words, with its reason."""
        return f"{EFFECTS[self.effect][1].format(self.label)} ({self.reason})"


def against_reference(study: Results, line: Accuracy) -> Comparison | None:
    """Compare a method with the reference; None for the reference itself."""
    reference = study.reference
    if line.method == reference.name:
        return None
    return Comparison(line, study.lines[line.threat, reference.name], reference.label, line.p_reference)


def against_baseline(study: Results, line: Accuracy) -> Comparison | None:
    """Compare a method with its baseline, if it has one beside the reference."""
    (method,) = (method for method in study.methods if method.name == line.method)
    if not (baseline := baseline_of(method, study.methods)):
        return None
    return Comparison(line, study.lines[line.threat, baseline.name], baseline.label, line.p_baseline)


def is_noise(study: Results, line: Accuracy) -> bool:
    """Return whether a method is within noise of the reference; the reference itself is not."""
    comparison = against_reference(study, line)
    return comparison is not None and comparison.effect == "noise"
