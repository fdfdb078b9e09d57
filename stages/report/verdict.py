"""The verdict: what each method gains, what it costs on clean images, what an adaptive attacker leaves."""

from collections import Counter

import pandas as pd

from stages.report.classes import worst_class
from stages.report.comparison import against_reference
from stages.report.tables import Results
from stages.report.threats import strongest_adaptive
from stages.report.vocabulary import CLEAN, Method, Threat

MOST_METHODS = 6  # of more, only the best and the worst are mentioned
EFFECTS = {"gain": "gains {:.1f} points", "loss": "loses {:.1f} points", "noise": "is within noise"}
COUNTED = {"gain": "gains under", "loss": "loses under", "noise": "is within noise under"}
NO_OBLIVIOUS = "No oblivious attack was run, so nothing is known about gains under attack."
NO_ADAPTIVE = "No adaptive attack was run, so nothing is known about attackers who know the method."


def verdict(studies: list[Results], headline: Threat, classes: pd.DataFrame) -> dict[str, list[str]]:
    """Return the sentences under the heading of each kind, one for each method against the reference; plain text.

    Args:
        studies: Of one data set or several with the same methods and threats; several are counted and averaged.
        headline: The oblivious threat that is most like the bank's attack, or `clean` if there is none.
        classes: Accuracies by class of these data sets, see `classes.classes_table`.
    """
    against = f"compared with {studies[0].reference.label}"
    return {
        f"Gain under oblivious attacks, {against}": gains(studies, headline),
        f"Price on clean images, {against}": [
            f"{sentence(studies, method, [CLEAN])}; {worst_class(classes, method)}."
            for method in mentioned(studies, CLEAN)
        ],
        f"Gain under adaptive attacks, {against}": adaptive_gains(studies, headline),
    }


def gains(studies: list[Results], headline: Threat) -> list[str]:
    """Return the sentences on the headline threat, each with a count over all oblivious threats."""
    if headline is CLEAN:
        return [NO_OBLIVIOUS]
    return [
        f"{sentence(studies, method, [headline])}{tally(studies, method)}." for method in mentioned(studies, headline)
    ]


def adaptive_gains(studies: list[Results], headline: Threat) -> list[str]:
    """Return the sentences on the strongest adaptive threat of each eps."""
    strongest = strongest_adaptive(studies[0].threats)
    if not strongest:
        return [NO_ADAPTIVE]
    sentences = [f"{sentence(studies, method, strongest)}." for method in mentioned(studies, strongest[-1])]
    if headline is not CLEAN and headline.eps not in [threat.eps for threat in strongest]:
        sentences.append(f"No adaptive attack of eps {headline.eps:g}/255, that of {headline.name}, was run.")
    return sentences


def mentioned(studies: list[Results], threat: Threat) -> list[Method]:
    """Return the methods to write about: all but the reference, of many the best and the worst under a threat."""
    methods = studies[0].compared
    if len(methods) <= MOST_METHODS:
        return methods
    ordered = sorted(methods, key=lambda method: -sum(study.line(threat, method).accuracy for study in studies))
    return [ordered[0], ordered[-1]]


def sentence(studies: list[Results], method: Method, threats: list[Threat]) -> str:
    """Say how a method compares with the reference under some threats, without a full stop."""
    return f"{method.label} {', '.join(clause(studies, method, threat) for threat in threats)}"


def clause(studies: list[Results], method: Method, threat: Threat) -> str:
    """Say how a method compares with the reference under one threat, as the end of a sentence."""
    where = f" under {threat.name}" if threat.attack else ""
    pairs = [against_reference(study, threat, method) for study in studies]
    line, other = (
        100 * sum(one.accuracy for one in ones) / len(ones) for ones in zip(*(p[:2] for p in pairs), strict=True)
    )
    both = f"{line:.1f} % instead of {other:.1f} %"
    if len(pairs) > 1:
        counts = Counter(pair.effect for pair in pairs)
        effects = f"a gain on {counts['gain']}, a loss on {counts['loss']}, within noise on {counts['noise']}"
        return f"reaches {both}{where} on average over {len(pairs)} data sets ({effects})"
    (pair,) = pairs
    return f"{EFFECTS[pair.effect].format(abs(pair.points))}{where} ({both}, n = {pair.line.n}, {pair.reason})"


def tally(studies: list[Results], method: Method) -> str:
    """Count the effects over all oblivious threats, if there are several, as the end of a sentence."""
    threats = [threat for threat in studies[0].threats if threat.knowledge == "oblivious"]
    if len(threats) < 2:
        return ""
    effects = Counter(against_reference(study, threat, method).effect for study in studies for threat in threats)
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


def unequal_sizes(study: Results) -> list[str]:
    """Return a sentence on unequal numbers of images or seeds, if they are unequal; plain text."""
    for method in reversed(study.methods):
        lines = [study.line(threat, method) for threat in study.threats]
        sizes = dict.fromkeys((line.knowledge, line.n, line.seeds) for line in lines)
        if len({(n, seeds) for _, n, seeds in sizes}) > 1:
            counts = ", ".join(
                f"{knowledge}: {n} images and {seeds} tuning {'seed' if seeds == 1 else 'seeds'}"
                for knowledge, n, seeds in sizes
            )
            return [
                f"Not all threats attack as many images and seeds ({counts}): compare methods under one threat only."
            ]
    return []


def closing_line(study: Results, method: Method, threats: list[Threat]) -> str:
    """Return the accuracies of the reference and another method under some threats, on one line."""
    pairs = [(study.line(threat, study.reference), study.line(threat, method)) for threat in threats]
    changes = [f"{one.threat} {one.accuracy:.3f} -> {other.accuracy:.3f} (n = {other.n})" for one, other in pairs]
    return f"{study.title}, {study.reference.name} -> {method.name}: {', '.join(changes)}"
