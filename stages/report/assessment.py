"""Checks of the evaluation itself: what each measurement must be for the attacks to be trusted.

A comparison counts images on which something is wrong, and knows the share of them that is allowed. It warns (fails) if
as many would be found with a probability of at most WARN (FAIL) where that share is true: the exact binomial test. An
honest evaluation therefore fails each comparison with a probability of at most FAIL, whatever the number of images. The
bound does not hold for a check that takes the worst of several comparisons (`worst_of`).
"""

from itertools import pairwise
from typing import NamedTuple

import pandas as pd
from scipy.special import bdtrc

from stages.report.statistics import robust_rows
from stages.report.tables import Predictions
from stages.report.vocabulary import CLEAN, Method, Threat

WARN, FAIL = 0.1, 0.005  # one-sided: the ends of exact intervals of 80 and 99 %
POINT = 0.01
OURS = "this is a fault of the evaluation: report it with params.yaml"
MASKED = "attack what has no gradient straight through it (BPDA), or on smooth logits in fp32"
SIGNS = {  # measure -> what must hold, share of images allowed otherwise, what was found, what to do
    "changed_at_eps_0": ("eps 0 changes nothing", 0, "{} images differ from the clean run", OURS),
    "outside": ("|δ| <= eps in every stored file", 0, "{} images have pixels outside of the ball", OURS),
    "logits_differ": (
        "logits repeat",
        0,
        "{} images have other logits at a second call",
        "judge a random method by the suite with `samples`, not by `assess`",
    ),
    "reload_differs": ("images reloaded from disk score the same", 0, "{} predictions differ", OURS),
    "batch_matters": (
        "logits do not depend on the batch",
        0,
        "{} images have other logits alone",
        "compute every statistic of an image from that image alone",
    ),
    "zero_gradients": ("gradients are not zero", POINT, "{} images have none", MASKED),
    "zero_gate_gradients": (
        "the gate has a gradient",
        POINT,
        "of {} images it has none",
        "hand `inner.is_open` a distance that is not detached, or no attack can hold the gate shut",
    ),
    "loss_stays": (
        "the loss rises along the attack",
        0.05,
        "on {} images it does not",
        f"gradients mislead: {MASKED}, or judge the method by the suite, which also holds gates shut",
    ),
}
ATTACKS = {
    "pgd": "PGD",
    "autoattack": "AutoAttack",
    "square": "Square after PGD",
    "undefended": "PGD without the defence",
}


class Check(NamedTuple):
    """One line of the list."""

    name: str  # what must hold, as a sentence
    status: str  # `pass`, `warn` or `fail`
    found: str  # what was measured, in words; what to do, unless it passes


def graded(name: str, count: int, of: int, allowed: float, found: str, remedy: str) -> Check:
    """Return a check of how many images, `count` of `of`, something is wrong with; a share of them is allowed."""
    chance = bdtrc(count - 1, of, allowed) if count else 1.0  # of as many or more
    status = "fail" if chance <= FAIL else "warn" if chance <= WARN else "pass"
    return Check(name, status, found if status == "pass" else f"{found}; {remedy}")


def no_weaker(name: str, strong: pd.Series, weak: pd.Series, remedy: str, found: str = "") -> Check:
    """Check that the first attack leaves no more images correct than the other, by the sign test of paired images.

    Both are given by whether each image (id) is correct after them; several tuning seeds of an image are averaged, and
    images that only one of both attacks do not count.
    """
    both = pd.concat([strong, weak], axis=1, join="inner", keys=["strong", "weak"]).dropna().astype(float)
    assert len(both), f"{name}: no image in common"
    difference = both.groupby("id").mean().diff(axis=1)["weak"]
    more, less = (difference < 0).sum(), (difference > 0).sum()
    one, other = both.mean()
    found = found or f"{one:.1%} against {other:.1%} on the same {len(difference)} images"
    return graded(name, more, more + less, 0.5, found, remedy)


def worst_of(checks: list[Check]) -> Check:
    """Return the first check with the worst status."""
    return min(checks, key=lambda check: ["fail", "warn", "pass"].index(check.status))


def checks_of(measured: pd.DataFrame) -> list[Check]:
    """Check the measurements of one data set.

    Args:
        measured: One line for each image of each: measure, attack, eps (1/255), steps, id, outcome; see
            stages/evaluation/diagnostics.py.

    Source: the signs of masked gradients of Athalye et al. 2018, sec. 3, and Carlini et al. 2019, sec. 3-5.
    """
    found = measured.groupby("measure")["outcome"].agg(["sum", "size"])
    signs = [
        graded(name, found["sum"][measure], found["size"][measure], allowed, unit.format(found["sum"][measure]), remedy)
        for measure, (name, allowed, unit, remedy) in SIGNS.items()
        if measure in found.index
    ]
    return [*signs, *checks_of_eps(measured), *checks_of_strength(measured)]


def checks_of_eps(measured: pd.DataFrame) -> list[Check]:
    """Check how accuracy depends on eps and on steps."""
    by_eps, by_steps = (correct_after(measured, "pgd", along) for along in ("eps", "steps"))
    eps, largest = at_eps(measured), by_eps.columns[-1]

    def falling(name: str, of: pd.DataFrame, remedy: str) -> Check:
        pairs = pairwise(of.columns)
        return worst_of([no_weaker(name, of[more], of[less], remedy, listed(of)) for less, more in pairs])

    noise, pgd = (by_eps[0] & ~of[eps] for of in (correct_after(measured, "noise", "eps"), by_eps))
    left = by_eps[largest]
    chance = f"PGD is hardly better than chance: {MASKED}"
    found = f"{noise.sum()} of {len(noise)} images, PGD {pgd.sum()}"
    few = f"at eps {largest} at most 2 % are left"
    return [
        falling("accuracy falls with eps", by_eps, "a larger ball needs more steps or restarts"),
        graded(few, left.sum(), len(left), 0.02, f"{left.mean():.1%}", f"no model withstands that: {MASKED}"),
        falling("more steps are no weaker", by_steps, "take other step sizes, or restarts"),
        graded(f"noise of eps {eps} hardly matters", noise.sum(), (noise | pgd).sum(), 0.5, found, chance),
    ]


def checks_of_strength(measured: pd.DataFrame) -> list[Check]:
    """Check that no other attack is stronger than gradients, and that no attack helps the method."""
    after = after_each(measured)
    clean, pgd = correct_after(measured, "none", "steps")[0], after["pgd"]
    gain = (pgd & ~after["square"]).sum()
    found = f"{gain / len(pgd):.1%} of images resist PGD but not Square"
    remedy = f"gradients mislead: add `queries` to the suite; {MASKED}"
    helps = "the defence spoils clean images, or answers only attackers who do not know it: judge it by the suite"
    checks = [
        no_weaker("AutoAttack is no weaker than PGD", after["autoattack"], pgd, MASKED),
        graded("Square gains at most a point over gradients", gain, len(pgd), POINT, found, remedy),
        worst_of([no_weaker("no attack helps", one, clean, helps) for one in after.values()]),
    ]
    if "undefended" in after:
        name = "PGD through the defence is no weaker than PGD without it"
        remedy = f"the defence masks its gradient: judge it by the suite; {MASKED}"
        checks.append(no_weaker(name, pgd, after["undefended"], remedy))
    return checks


def checks_of_suite(
    measured: pd.DataFrame, predictions: Predictions, threats: list[Threat], *, method: Method
) -> list[Check]:
    """Compare the reported suite of the same eps with the attacks of `assess`, on the images that both attack.

    Args:
        measured: As for `checks_of`: of the first tuning seed.
        predictions: Of one data set.
        threats: All threats of that data set.
        method: The method that is assessed.
    """
    remedy = "give the suite more steps, restarts or queries"
    suites = [one.name for one in threats if one.attack.get("method") == "suite" and one.eps == at_eps(measured)]
    correct = {name: correct_images(predictions[name], method).xs(0, level="seed") for name in suites}
    return [
        no_weaker(f"{name} is no weaker than {ATTACKS[attack]}", suite, after, remedy)
        for name, suite in correct.items()
        for attack, after in after_each(measured).items()
        if attack != "pgd"
    ]


def checks_of_results(
    predictions: Predictions, threats: list[Threat], surrogates: list[dict], *, method: Method
) -> list[Check]:
    """Compare the reported numbers of a method with each other.

    No attack may leave more images correct than are so clean; an oblivious one that does so is a warning if there is an
    adaptive one of its eps to rely on.

    Args:
        predictions: Of one data set.
        threats: All threats of that data set.
        surrogates: Of each transfer attack: threat, clean_accuracy, robust_accuracy.
        method: The method that is assessed.
    """
    single = [one for one in threats if one.attack and not one.is_worst]
    checks = checks_of_knowledge(predictions, threats, method=method)
    known = {one.eps for one in single if one.knowledge == "adaptive"}
    helped = []
    for threat in single:
        answers = f"the method answers {threat.name} itself, maybe at the price of clean images"
        attacked, clean = (correct_images(predictions[one.name], method) for one in (threat, CLEAN))
        check = no_weaker("no threat helps", attacked, clean, f"{answers}: read its adaptive accuracy")
        is_answered = threat.knowledge == "oblivious" and threat.eps in known and check.status == "fail"
        helped.append(check._replace(status="warn") if is_answered else check)
    checks += [worst_of(helped)] if helped else []
    for about in surrogates:
        clean, left = about["clean_accuracy"], about["robust_accuracy"]
        found = f"{about['name']}: {clean:.1%} clean, {left:.1%} attacked"
        status = "pass" if left <= 0.2 * clean else "warn" if left <= 0.5 * clean else "fail"
        found += "" if status == "pass" else "; give it more steps, or choose another surrogate"
        checks.append(Check(f"{about['threat']} fools its own surrogate", status, found))
    return checks


def checks_of_knowledge(predictions: Predictions, threats: list[Threat], *, method: Method) -> list[Check]:
    """Compare attacks through a method with those of the same eps that do not know it.

    Not Square, which sees no gradient, nor the pointwise worst, which is the strongest by definition.
    """
    single = [one for one in threats if one.attack and not one.is_worst]
    robust = {
        one.name: correct_images(robust_rows(predictions[CLEAN.name], predictions[one.name]), method, "robust")
        for one in single
    }
    remedy = "give the adaptive attack more steps or restarts, and report `worst_eps...`"
    return [
        no_weaker(f"{strong.name} is no weaker than {weak.name}", robust[strong.name], robust[weak.name], remedy)
        for weak in single
        for strong in single
        if (weak.knowledge, strong.knowledge) == ("oblivious", "adaptive")
        and weak.eps == strong.eps
        and strong.attack["method"] != "square"
    ]


def checks_of_others(predictions: Predictions, threats: list[Threat], methods: list[Method]) -> list[Check]:
    """Return one check of each method, the worst of `checks_of_knowledge`; none without threats to compare."""
    checks = []
    for method in methods:
        if found := checks_of_knowledge(predictions, threats, method=method):
            name, status, told = worst_of(found)
            summary = f"{method.label}: adaptive threats are no weaker than oblivious ones"
            checks.append(Check(summary, status, f"{name}: {told}"))
    return checks


def correct_images(rows: pd.DataFrame, method: Method, column: str = "correct") -> pd.Series:
    """Return a column of the predictions of a method by id and tuning seed."""
    return rows[rows["method"] == method.name].set_index(["id", "seed"])[column]


def correct_after(measured: pd.DataFrame, attack: str, along: str) -> pd.DataFrame:
    """Return whether each image (row) is correct after an attack at each eps or number of steps (column, ascending).

    Along `eps`, all have the same number of steps, and 0 is the clean images; along `steps`, all have the eps of
    comparisons. There is no column if the attack was not tried.
    """
    lines = measured[measured["measure"] == "correct"]
    of_attack = lines[lines["attack"] == attack]
    if along == "steps":
        chosen = of_attack if attack == "none" else of_attack[of_attack["eps"] == at_eps(measured)]
    else:
        elsewhere = of_attack[of_attack["eps"] != at_eps(measured)]
        of_all = of_attack[of_attack["steps"].isin(elsewhere["steps"])]
        chosen = pd.concat([lines[lines["attack"] == "none"], of_all])
    return chosen.pivot(index="id", columns=along, values="outcome")


def after_each(measured: pd.DataFrame) -> dict[str, pd.Series]:
    """Return whether each image is correct after the most steps of each attack that was tried."""
    found = {attack: correct_after(measured, attack, "steps") for attack in ATTACKS}
    return {attack: correct.iloc[:, -1] for attack, correct in found.items() if len(correct.T)}


def curve(measured: pd.DataFrame, attack: str, along: str) -> pd.Series:
    """Return the robust accuracy, correct clean and after an attack, by eps or by steps; see `correct_after`."""
    return (
        correct_after(measured, attack, along).mul(correct_after(measured, "none", "steps")[0], axis=0).dropna().mean()
    )


def at_eps(measured: pd.DataFrame) -> int:
    """Return the eps at which attacks are compared with each other."""
    return int(measured.loc[measured["attack"] == "square", "eps"].iloc[0])


def listed(correct: pd.DataFrame) -> str:
    """Return accuracies in words."""
    return ", ".join(f"{value:.1%} at {at}" for at, value in correct.mean().items())


def assessment_table(checks: dict[str, list[Check]]) -> pd.DataFrame:
    """Return all checks of all data sets: dataset, check, status, found."""
    lines = [(name, *check) for name, found in checks.items() for check in found]
    return pd.DataFrame(lines, columns=["dataset", "check", "status", "found"])
