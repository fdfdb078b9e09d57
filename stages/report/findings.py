"""What the results say, in words: gains, losses, and gains that an adaptive attacker removes."""

import math

from stages.report.significance import LEVEL
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import PROMPTS, Threat, adaptive_partner


def points(one: Accuracy, other: Accuracy) -> float:
    """How much better `one` is, in percentage points."""
    return 100 * (one.accuracy - other.accuracy)


def p_of(one: Accuracy, other: Accuracy) -> float:
    """The corrected p of the difference between a tuned prompt and what it is compared with."""
    return {"hand": one.p_hand, "coop": one.p_coop, "advpt": one.p_advpt}[other.prompt]


def outlasts_tuning(one: Accuracy, other: Accuracy) -> bool:
    """Whether the difference exceeds twice the standard deviation over the seeds of both; one seed has none."""
    spread = math.hypot(*(0 if math.isnan(line.std) else line.std for line in (one, other)))
    return abs(one.accuracy - other.accuracy) > 2 * spread


def effect(one: Accuracy, other: Accuracy) -> str:
    """The one decision of the report: `gain` or `loss` of a tuned prompt, or `noise`.

    Noise is what other test images could turn (the paired test of `significance`, corrected for all that is asked of
    the study), or what tuning again could turn.
    """
    if p_of(one, other) >= LEVEL or not outlasts_tuning(one, other):
        return "noise"
    return "gain" if one.accuracy > other.accuracy else "loss"


def reason(one: Accuracy, other: Accuracy) -> str:
    """Why a difference is noise or not, in a few words."""
    p = p_of(one, other)
    said = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
    if p < LEVEL and not outlasts_tuning(one, other):
        return f"{said}, but less than twice the spread over tuning seeds"
    return said


def signed(gain: float) -> str:
    """Points with their sign."""
    return f"{gain:+.1f}".replace("-", "−")


def difference(one: Accuracy, other: Accuracy) -> str:
    """The difference as gain, loss, or noise."""
    gain, kind = points(one, other), effect(one, other)
    if kind == "noise":
        return f"{signed(gain)} points, within noise ({reason(one, other)})"
    return f"a {kind} of {abs(gain):.1f} points ({reason(one, other)})"


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
    partner = adaptive_partner(threats[::-1], threat.eps, threat.defence)  # the worst of several stands last
    if partner is None:
        through = "" if threat.defence == "none" else f" through {threat.defence}"
        return (
            f"{said} No adaptive threat of this eps{through} was run, so nothing says that the gain outlasts a knowing "
            "attacker."
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
        "noise": "Against an attacker who knows the prompt no gain is left that could be told from noise.",
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
