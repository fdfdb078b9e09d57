"""The verdict in four sentences: what is gained, what it costs, what a knowing attacker leaves, what rounds do."""

from collections import Counter

import pandas as pd

from stages.report.classes import worst_class
from stages.report.findings import effect, points, reason
from stages.report.tables import Results
from stages.report.vocabulary import CLEAN, PROMPTS, Threat

SAID = {  # of one data set, by what the attacker knows and by the effect; {:.1f} is points
    "clean": {
        "gain": "it gains {:.1f} points",
        "loss": "it costs {:.1f} points",
        "noise": "it costs nothing that could be told from noise",
    },
    "oblivious": {
        "gain": "{name} gains {:.1f} points",
        "loss": "{name} loses {:.1f} points",
        "noise": "{name} gains nothing that could be told from noise",
    },
    "adaptive": {
        "gain": "{name} gains {:.1f} points",
        "loss": "{name} loses {:.1f} points",
        "noise": "there is no gain that could be told from noise",
    },
}
COUNTED = {"gain": "gains under", "loss": "loses under", "noise": "is within noise under"}


def verdict(
    results: Results,
    datasets: list[str],
    threats: list[Threat],
    shown: Threat,
    *,
    refreshed_eps: float,
    classes: pd.DataFrame,
) -> list[str]:
    """Four sentences on AdvPT against the hand-written prompt, the last on the refreshed one; plain text.

    Args:
        results: Every accuracy.
        datasets: What to speak of; several are counted and averaged.
        threats: All threats of the report.
        shown: The oblivious threat that is most like the bank's attack, or `clean` if there is none.
        refreshed_eps: Largest eps of the refreshed bank, in 1/255.
        classes: Accuracies by class of these data sets, see `classes.classes_table`.
    """
    return [
        gained(results, datasets, threats, shown),
        f"{told(results, datasets, CLEAN, 'On clean images')}; by class it {worst_class(classes, 'advpt')}.",
        left(results, datasets, threats, shown),
        refreshed(results, datasets, threats, refreshed_eps, classes),
    ]


def gained(results: Results, datasets: list[str], threats: list[Threat], shown: Threat) -> str:
    """The first sentence: the attack that the bank was made with, then all threats of its kind."""
    if shown is CLEAN:
        return "No attack that does not know the prompts was run, so nothing says what AdvPT gains under one."
    attack = "the paper's attack" if shown.attack["method"] == "feature_pgd" else "an attack"
    where = f"Under {attack} at eps {shown.eps:g}/255, made without the prompts ({shown.name}),"
    return f"{told(results, datasets, shown, where)}{tally(results, datasets, threats, 'oblivious')}."


def left(results: Results, datasets: list[str], threats: list[Threat], shown: Threat) -> str:
    """The third sentence: the same eps, or the nearest, through the prompt itself, then all threats of that kind."""
    nearest = nearest_adaptive(threats, shown.eps)
    if nearest is None:
        return "No adaptive attack was run, so nothing says what an attacker who knows the prompt leaves."
    where = f"Under an attacker at eps {nearest.eps:g}/255 who knows the prompt ({nearest.name}),"
    missing = "" if shown is CLEAN or nearest.eps == shown.eps else f"; at eps {shown.eps:g}/255 none was tried"
    return f"{told(results, datasets, nearest, where)}{missing}{tally(results, datasets, threats, 'adaptive')}."


def refreshed(results: Results, datasets: list[str], threats: list[Threat], eps: float, classes: pd.DataFrame) -> str:
    """The fourth sentence: a bank crafted through the prompts, under the adaptive eps nearest to its own, and clean."""
    nearest = nearest_adaptive(threats, eps)
    if nearest is None:
        return "No adaptive attack was run, so nothing says what a bank crafted through the prompts gains."
    where = f"With a bank crafted through the prompts themselves, at eps {nearest.eps:g}/255 ({nearest.name}),"
    clean = told(results, datasets, CLEAN, "on clean images", "advpt_refreshed")
    lost = worst_class(classes, "advpt_refreshed")
    return f"{told(results, datasets, nearest, where, 'advpt_refreshed')}; {clean}; by class it {lost}."


def nearest_adaptive(threats: list[Threat], eps: float) -> Threat | None:
    """The undefended adaptive threat of the nearest eps; of several of one eps the last, which is the worst of them."""
    adaptive = [threat for threat in threats[::-1] if threat.knowledge == "adaptive" and threat.defence == "none"]
    return min(adaptive, key=lambda threat: abs(threat.eps - eps), default=None)


def told(results: Results, datasets: list[str], threat: Threat, where: str, prompt: str = "advpt") -> str:
    """What a tuned prompt does under one threat, without a full stop."""
    lines = [[results[dataset, threat.name, name] for name in (prompt, "hand")] for dataset in datasets]
    tuned, hand = (100 * sum(line.accuracy for line in column) / len(lines) for column in zip(*lines, strict=True))
    both = f"{tuned:.1f} % instead of {hand:.1f} %"
    if len(lines) > 1:
        kinds = Counter(effect(*pair) for pair in lines)
        counts = f"a gain on {kinds['gain']}, a loss on {kinds['loss']}, within noise on {kinds['noise']}"
        return f"{where} {PROMPTS[prompt]} reaches {both} on average over {len(lines)} data sets ({counts})"
    ((one, other),) = lines
    said = SAID[threat.knowledge][effect(one, other)].format(abs(points(one, other)), name=PROMPTS[prompt])
    return f"{where} {said}: {both} (n = {one.n}, {reason(one, other)})"


def tally(results: Results, datasets: list[str], threats: list[Threat], knowledge: str) -> str:
    """How AdvPT fares under all undefended threats of one kind, if there are several, as the end of a sentence."""
    alike = [threat for threat in threats if threat.knowledge == knowledge and threat.defence == "none"]
    alike = [threat for threat in alike if threat.attack["method"] != "pointwise_worst"]
    pairs = [
        [results[name, threat.name, prompt] for prompt in ("advpt", "hand")] for name in datasets for threat in alike
    ]
    kinds = Counter(effect(*pair) for pair in pairs)
    if len(alike) < 2:
        return ""
    counts = ", ".join(f"{said} {kinds[kind]}" for kind, said in COUNTED.items() if kinds[kind])
    everywhere = "" if len(datasets) == 1 else f" on {len(datasets)} data sets"
    return f"; of all {len(alike)} {knowledge} threats{everywhere} it {counts}"


def caution(statuses: list[str], *, validation: float) -> list[str]:
    """What is to be taken from the verdict: one text if a check of the attacks fails or no test image judges.

    Args:
        statuses: Of the checks of the attacks.
        validation: Share of the training images that stand in for the test images.
    """
    said, failed = [], statuses.count("fail")
    if failed:
        checks = "check of the attacks fails" if failed == 1 else "checks of the attacks fail"
        where = "(see “Can the attacks be trusted?”)"
        said.append(f"{failed} {checks} {where}: the accuracies under attack may be too high.")
    if validation:
        said.append(
            f"Judged on validation images, {validation:.0%} of the training images (data.validation), not on test "
            "images: fit to choose by, not to report."
        )
    return [" ".join(said)] if said else []
