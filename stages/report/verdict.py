"""The verdict: what each method gains, what it costs on clean images, what an adaptive attacker leaves; plain text."""

from collections import Counter

import pandas as pd

from stages.report.classes import worst_class
from stages.report.comparison import Comparison, against_reference
from stages.report.tables import Results
from stages.report.vocabulary import CLEAN, Method, Threat

MOST_METHODS = 6  # of more, only the best and the worst are mentioned
EFFECTS = {"gain": "gains {:.1f} points", "loss": "loses {:.1f} points", "noise": "is within noise"}
COUNTED = {"gain": "gains under", "loss": "loses under", "noise": "is within noise under"}
NO_OBLIVIOUS = "No oblivious attack was run, so nothing is known about gains under attack."
NO_ADAPTIVE = "No adaptive attack was run, so nothing is known about attackers who know the method."


def verdict(studies: list[Results], headline: Threat, classes: pd.DataFrame) -> dict[str, list[str]]:
    """Return the sentences under the heading of each kind, one for each method against the reference.

    Args:
        studies: Of one data set or several with the same methods and threats; several are counted and averaged.
        headline: The oblivious threat that is most like the bank's attack, or `clean` if there is none.
        classes: Accuracies by class of these data sets, see `classes.classes_table`.
    """
    first, against = studies[0], f"compared with {studies[0].reference.label}"
    gains, adaptive = [NO_OBLIVIOUS], [NO_ADAPTIVE]
    if headline is not CLEAN:
        gains = [
            f"{sentence(studies, one, [headline.name])}{tally(studies, one)}."
            for one in mentioned(studies, headline.name)
        ]
    if strongest := {eps: line.threat for eps, line in first.strongest(first.reference, "adaptive").items()}:
        names = list(strongest.values())
        adaptive = [f"{sentence(studies, one, names)}." for one in mentioned(studies, names[-1])]
        if headline is not CLEAN and headline.eps not in strongest:
            adaptive.append(f"No adaptive attack of eps {headline.eps:g}/255, that of {headline.name}, was run.")
    return {
        f"Gain under oblivious attacks, {against}": gains,
        f"Price on clean images, {against}": [
            f"{sentence(studies, one, [CLEAN.name])}; {worst_class(classes, one)}."
            for one in mentioned(studies, CLEAN.name)
        ],
        f"Gain under adaptive attacks, {against}": adaptive,
    }


def mentioned(studies: list[Results], threat: str) -> list[Method]:
    """Return the methods to write about: all but the reference, of many the best and the worst under a threat."""
    methods = studies[0].compared
    if len(methods) <= MOST_METHODS:
        return methods
    ordered = sorted(methods, key=lambda method: -sum(study.lines[threat, method.name].accuracy for study in studies))
    return [ordered[0], ordered[-1]]


def sentence(studies: list[Results], method: Method, threats: list[str]) -> str:
    """Say how a method compares with the reference under some threats, without a full stop."""
    return f"{method.label} {', '.join(clause(studies, method, threat) for threat in threats)}"


def clause(studies: list[Results], method: Method, threat: str) -> str:
    """Say how a method compares with the reference under one threat, as the end of a sentence."""
    where = f" under {threat}" if threat != CLEAN.name else ""
    pairs = [compare(study, method, threat) for study in studies]
    line, other = (
        sum(one.accuracy for one in ones) / len(ones) for ones in zip(*(pair[:2] for pair in pairs), strict=True)
    )
    both = f"{100 * line:.1f} % instead of {100 * other:.1f} %"
    if len(pairs) > 1:
        counts = Counter(pair.effect for pair in pairs)
        effects = f"a gain on {counts['gain']}, a loss on {counts['loss']}, within noise on {counts['noise']}"
        return f"reaches {both}{where} on average over {len(pairs)} data sets ({effects})"
    (pair,) = pairs
    return f"{EFFECTS[pair.effect].format(abs(pair.points))}{where} ({both}, n = {pair.line.n}, {pair.reason})"


def compare(study: Results, method: Method, threat: str) -> Comparison:
    """Compare a method other than the reference with it."""
    comparison = against_reference(study, study.lines[threat, method.name])
    assert comparison is not None
    return comparison


def tally(studies: list[Results], method: Method) -> str:
    """Count the effects over all oblivious threats, if there are several, as the end of a sentence."""
    threats = [threat.name for threat in studies[0].threats if threat.knowledge == "oblivious"]
    if len(threats) < 2:
        return ""
    effects = Counter(compare(study, method, threat).effect for study in studies for threat in threats)
    counts = ", ".join(f"{words} {effects[effect]}" for effect, words in COUNTED.items() if effects[effect])
    everywhere = "" if len(studies) == 1 else f" on {len(studies)} data sets"
    return f"; of all {len(threats)} oblivious threats{everywhere} it {counts}"


def caution(statuses: list[str], *, validation: float) -> list[str]:
    """Return the reasons to distrust the verdict: failed checks of the attacks, validation images instead of test ones.

    Args:
        statuses: Of the checks of the attacks.
        validation: Share of the training images that stand in for the test images.
    """
    sentences = []
    if failed := statuses.count("fail"):
        checks = "check of the attacks fails" if failed == 1 else "checks of the attacks fail"
        sentences.append(
            f"{failed} {checks} (see “Can the attacks be trusted?”): the accuracies under attack may be too high."
        )
    if validation:
        sentences.append(
            f"Evaluated on validation images, {validation:.0%} of the training images (data.validation), not on test "
            "images: fit for choosing parameters, not for reporting."
        )
    return sentences
