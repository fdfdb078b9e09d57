"""The verdict: how each method compares with the reference, clean and under the attacks that decide; plain text."""

from collections import Counter

import pandas as pd

from stages.report.classes import worst_class
from stages.report.comparison import against_reference
from stages.report.tables import Results
from stages.report.vocabulary import CLEAN, Method, Threat
from stages.report.wording import percent

MOST_METHODS = 6  # of more, only the best and the worst are mentioned
EFFECTS = {"gain": "gains {:.1f} points", "loss": "loses {:.1f} points", "noise": "is within noise"}
NO_OBLIVIOUS = "No oblivious attack was run, so nothing is known about gains under attack."
NO_ADAPTIVE = "No adaptive attack was run, so nothing is known about attackers who know the method."


def verdict(studies: list[Results], headline: Threat, classes: pd.DataFrame) -> list[str]:
    """Return a sentence for each method against the reference, and one for each kind of attack that was not run.

    Args:
        studies: Of one data set or several with the same methods and threats; several are counted and averaged.
        headline: The oblivious threat that is most like the bank's attack, or `clean` if there is none.
        classes: Accuracies by class of these data sets, see `classes.classes_table`.
    """
    first = studies[0]
    adaptive = {eps: line.threat for eps, line in first.strongest(first.reference, "adaptive").items()}
    threats = list(dict.fromkeys([CLEAN.name, headline.name, *adaptive.values()]))
    sentences = [
        f"{method.label} {', '.join(clause(studies, method, threat) for threat in threats)}; "
        f"{worst_class(classes, method)}."
        for method in mentioned(studies, threats[-1])
    ]
    if headline is CLEAN:
        sentences.append(NO_OBLIVIOUS)
    if not adaptive:
        sentences.append(NO_ADAPTIVE)
    elif headline is not CLEAN and headline.eps not in adaptive:
        sentences.append(f"No adaptive attack of eps {headline.eps:g}/255, that of {headline.name}, was run.")
    return sentences


def mentioned(studies: list[Results], threat: str) -> list[Method]:
    """Return the methods to write about: all but the reference, of many the best and the worst under a threat."""
    methods = [method for method in studies[0].methods if method != studies[0].reference]
    if len(methods) <= MOST_METHODS:
        return methods
    ordered = sorted(methods, key=lambda method: -sum(study.lines[threat, method.name].accuracy for study in studies))
    return [ordered[0], ordered[-1]]


def clause(studies: list[Results], method: Method, threat: str) -> str:
    """Say how a method other than the reference compares with it under one threat, as a part of a sentence."""
    where = f"under {threat}" if threat != CLEAN.name else "on clean images"
    pairs = [found for study in studies if (found := against_reference(study, study.lines[threat, method.name]))]
    lines, others = zip(*(pair[:2] for pair in pairs), strict=True)
    line, other = (sum(one.accuracy for one in ones) / len(ones) for ones in (lines, others))
    both = f"{percent(line)} % instead of {percent(other)} %"
    if len(pairs) > 1:
        counts = Counter(pair.effect for pair in pairs)
        effects = f"a gain on {counts['gain']}, a loss on {counts['loss']}, within noise on {counts['noise']}"
        return f"reaches {both} {where} on average over {len(pairs)} data sets ({effects})"
    (pair,) = pairs
    return f"{EFFECTS[pair.effect].format(abs(pair.points))} {where} ({both}, n = {pair.line.n}, {pair.reason})"


def caution(statuses: list[str], *, validation: float) -> list[str]:
    """Return the reasons to distrust the results: failed checks, validation images instead of test ones.

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
