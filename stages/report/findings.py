"""What the results say, in words: gains, losses, and gains that an adaptive attacker removes."""

import math

from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import PROMPTS, Threat, adaptive_partner


def points(one: Accuracy, other: Accuracy) -> float:
    """How much better `one` is, in percentage points."""
    return 100 * (one.accuracy - other.accuracy)


def effect(one: Accuracy, other: Accuracy) -> str:
    """`gain` or `loss` of `one`; `noise` where the intervals overlap or tuning again could turn the difference.

    A coarse and careful test: both judge the same images, so a paired test would find more. Tuning again could turn a
    difference of less than twice the standard deviation over the seeds of both.
    """
    spread = math.hypot(*(0 if math.isnan(line.std) else line.std for line in (one, other)))
    clear = abs(one.accuracy - other.accuracy) >= 2 * spread
    if clear and one.low > other.high:
        return "gain"
    return "loss" if clear and one.high < other.low else "noise"


def signed(gain: float) -> str:
    """Points with their sign."""
    return f"{gain:+.1f}".replace("-", "−")


def difference(one: Accuracy, other: Accuracy) -> str:
    """The difference as gain, loss, or noise."""
    gain, kind = points(one, other), effect(one, other)
    if kind == "noise":
        return f"{signed(gain)} points, within noise"
    return f"a {kind} of {abs(gain):.1f} points"


def findings(results: Results, dataset: str, threats: list[Threat]) -> list[str]:
    """What each threat shows, AdvPT against the hand-written prompt, and what not to compare; plain text."""
    return [*(finding(results, dataset, threat, threats) for threat in threats), *sizes(results, dataset)]


def finding(results: Results, dataset: str, threat: Threat, threats: list[Threat]) -> str:
    """What one threat shows; of an oblivious gain also what the adaptive threat of the same eps leaves."""
    advpt, hand = (results[dataset, threat.name, prompt] for prompt in ("advpt", "hand"))
    known = f" ({threat.knowledge})" if threat.attack else ""
    said = f"{threat.name}{known}: {comparison(advpt, hand)}."
    if threat.knowledge != "oblivious" or effect(advpt, hand) != "gain":
        return said
    partner = adaptive_partner(threats, threat.eps)
    if partner is None:
        return (
            f"{said} No adaptive threat of this eps was run, so nothing says that the gain outlasts a knowing attacker."
        )
    advpt_known, hand_known = (results[dataset, partner.name, prompt] for prompt in ("advpt", "hand"))
    return (
        f"{said} With the same eps through the very prompt ({partner.name}): {comparison(advpt_known, hand_known)}. "
        f"{what_is_left(advpt_known, hand_known)}"
    )


def comparison(advpt: Accuracy, hand: Accuracy) -> str:
    """Both accuracies and their difference."""
    both = f"{PROMPTS['advpt']} {100 * advpt.accuracy:.1f} %, {PROMPTS['hand']} {100 * hand.accuracy:.1f} %"
    return f"{both} (n = {advpt.n}): {difference(advpt, hand)}"


def what_is_left(advpt: Accuracy, hand: Accuracy) -> str:
    """What an adaptive attacker leaves of an oblivious gain."""
    return {
        "gain": "Against this attacker, who knows the prompt, a gain is left.",
        "loss": "Against an attacker who knows the prompt the gain turns into a loss.",
        "noise": "Against an attacker who knows the prompt the gain is gone: what is left is within noise.",
    }[effect(advpt, hand)]


def sizes(results: Results, dataset: str) -> list[str]:
    """A sentence on unequal numbers of images or seeds, if they are unequal; plain text."""
    lines = [line for key, line in results.items() if key[0] == dataset and line.prompt == "advpt"]
    told = dict.fromkeys((line.knowledge, line.n, line.seeds) for line in lines)
    if len({(n, seeds) for _, n, seeds in told}) == 1:
        return []
    counts = ", ".join(
        f"{knowledge}: {n} images and {seeds} tuning {'seed' if seeds == 1 else 'seeds'}"
        for knowledge, n, seeds in told
    )
    return [f"Not all threats attack as many images and seeds ({counts}): compare within a line, not down a column."]


def headline(results: Results, dataset: str, threats: list[Threat]) -> str:
    """The accuracies of the hand-written prompt and AdvPT under some threats, on one line."""
    lines = [[results[dataset, threat.name, prompt] for prompt in ("hand", "advpt")] for threat in threats]
    pairs = [f"{hand.threat} {hand.accuracy:.3f} -> {advpt.accuracy:.3f} (n = {hand.n})" for hand, advpt in lines]
    return f"{dataset} hand -> advpt: {', '.join(pairs)}"
