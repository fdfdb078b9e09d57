"""Checks of the evaluation itself: what each measurement must be for the attacks to be trusted."""

from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from stages.report.statistics import robust_rows
from stages.report.tables import Predictions
from stages.report.vocabulary import CLEAN, WORST, Method, Threat

POINT = 0.01
EXACT = {  # measure -> what must hold, what is counted
    "changed_at_eps_0": ("eps 0 changes nothing", "values that differ from the clean run"),
    "outside": ("|δ| <= eps in every stored file", "pixels outside of the ball"),
    "logits_differ": ("logits repeat", "images whose logits differ at a second call"),
    "reload_differs": ("images reloaded from disk score the same", "predictions that differ"),
}


class Check(NamedTuple):
    """One line of the list.

    Attributes:
        name: What must hold, as a sentence.
        status: `pass`, `warn` or `fail`.
        found: What was measured, in words.
    """

    name: str
    status: str
    found: str


def graded(name: str, value: float, warn: float, fail: float, found: str) -> Check:
    """Return a check that passes up to `warn`, warns up to `fail`, and fails above."""
    return Check(name, "pass" if value <= warn else "warn" if value <= fail else "fail", found)


def checks_of(measured: pd.DataFrame) -> list[Check]:
    """Check the measurements of one data set.

    Args:
        measured: One line for each: measure, attack, eps (1/255), steps, value, n; see
            stages/evaluation/diagnostics.py.

    Source: the signs of masked gradients of Athalye et al. 2018, sec. 3, and Carlini et al. 2019, sec. 3-5.
    """
    values = measured.set_index("measure")["value"]
    exact = [graded(name, values[of], 0, 0, f"{values[of]:.0f} {unit}") for of, (name, unit) in EXACT.items()]
    return [*exact, *checks_of_eps(measured), *checks_of_strength(values)]


def checks_of_eps(measured: pd.DataFrame) -> list[Check]:
    """Check how accuracy depends on eps and on steps."""
    by_eps, by_steps = curve(measured, "pgd", "eps"), curve(measured, "pgd", "steps")
    noise, clean, most = curve(measured, "noise", "eps"), by_eps.iloc[0], by_eps.iloc[-1]
    count = int(measured.loc[measured["measure"] == "accuracy", "n"].max())
    at_eps = int(measured.loc[measured["measure"] == "square_gain", "eps"].iloc[0])
    sigma = 2 * (0.25 / count) ** 0.5  # two standard errors of an accuracy, at most
    rise, weaker = (max(after - before for before, after in pairwise(found)) for found in (by_eps, by_steps))
    lost, half = clean - noise[at_eps], (clean - by_eps[at_eps]) / 2
    both = f"{clean:.1%} clean, {noise[at_eps]:.1%} under noise"
    return [
        graded("accuracy falls with eps", rise, 0, POINT, listed(by_eps)),
        graded(f"at eps {by_eps.index[-1]} at most 2 % are left", most, 0.02, 0.02, f"{most:.1%}"),
        graded("more steps are no weaker", weaker, POINT, sigma, listed(by_steps)),
        graded(f"random noise of eps {at_eps} hardly matters", lost, 0.05, half, both),
    ]


def checks_of_strength(values: pd.Series) -> list[Check]:
    """Check that there are gradients, and that no other attack is much stronger; values by measure."""
    auto, zero, rises, square = values[["autoattack", "zero_gradients", "loss_rises", "square_gain"]]
    pgd, suite = (values[f"{name}_of_autoattack_images"] for name in ("pgd", "suite"))
    of_pgd, of_suite = (
        f"{one:.1%} against {other:.1%} on the same images" for one, other in ((auto, pgd), (suite, auto))
    )
    resist = f"{square:.1%} of images resist PGD but not Square"
    return [
        graded("gradients are not zero", zero, POINT, 0.1 - 1e-9, f"{zero:.1%} of images have none"),
        graded("the loss rises along the attack", 1 - rises, 0.05, 0.2, f"on {rises:.1%} of images"),
        graded("AutoAttack is no weaker than PGD", auto - pgd, 0, POINT, of_pgd),
        graded("the adaptive suite comes near AutoAttack", suite - auto, 0.05, 0.2, of_suite),
        graded("Square gains at most a point over gradients", square, POINT, 3 * POINT, resist),
    ]


def checks_of_results(
    predictions: Predictions, threats: list[Threat], surrogates: list[dict], *, method: Method
) -> list[Check]:
    """Compare the reported numbers of a method with each other.

    Attacks through the method are compared with those that do not know it: not Square, which sees no gradient, nor the
    pointwise worst, which is the strongest by definition.

    Args:
        predictions: Of one data set.
        threats: All threats of that data set.
        surrogates: Of each transfer attack: threat, clean_accuracy, robust_accuracy.
        method: The method that is assessed.
    """
    adaptive = [one for one in threats if one.knowledge == "adaptive" and one.attack["method"] not in ("square", WORST)]
    checks = [
        check_of_pair(predictions, strong, weak, method=method)
        for weak in threats
        for strong in adaptive
        if weak.knowledge == "oblivious" and weak.eps == strong.eps
    ]
    for about in surrogates:
        clean, robust = about["clean_accuracy"], about["robust_accuracy"]
        found = f"{about['name']}: {clean:.1%} clean, {robust:.1%} attacked"
        checks.append(graded(f"{about['threat']} fools its own surrogate", robust / clean, 0.2, 0.5, found))
    return checks


def check_of_pair(predictions: Predictions, strong: Threat, weak: Threat, *, method: Method) -> Check:
    """Compare two threats on the images and tuning seeds that both attack; often `strong` attacks a subset.

    It fails where `strong` leaves more images correct than `weak` by over two standard errors of the paired difference.
    """
    one, other = (robust_examples(predictions, threat, method) for threat in (strong, weak))
    both = pd.concat([one, other], axis=1, join="inner", keys=["strong", "weak"]).groupby("id").mean()
    assert len(both), f"{strong.name} and {weak.name} attack no image in common"
    difference = both["strong"] - both["weak"]
    noise = 2 * difference.std(ddof=0) / len(both) ** 0.5
    found = f"{both['strong'].mean():.1%} against {both['weak'].mean():.1%} on the same {len(both)} images"
    return graded(f"{strong.name} is no weaker than {weak.name}", difference.mean(), 0, noise, found)


def robust_examples(predictions: Predictions, threat: Threat, method: Method) -> pd.Series:
    """Return whether each example is correct clean and under the threat, by id and tuning seed."""
    robust = robust_rows(predictions[CLEAN.name], predictions[threat.name])
    return robust[robust["method"] == method.name].set_index(["id", "seed"])["robust"]


def curve(measured: pd.DataFrame, attack: str, along: str) -> pd.Series:
    """Return the accuracy under an attack by eps (with the most steps) or by steps (where there are several)."""
    lines = measured[(measured["measure"] == "accuracy") & (measured["attack"] == attack)]
    if along == "steps":
        lines = lines[lines["eps"] == lines.groupby("eps")["steps"].nunique().idxmax()]
    else:
        lines = lines[(lines["steps"] == lines["steps"].max()) | (lines["eps"] == 0)]
    return lines.sort_values(along).set_index(along)["value"]


def listed(curve: pd.Series) -> str:
    """Return a curve in words."""
    return ", ".join(f"{value:.1%} at {at}" for at, value in curve.items())


def assessment_table(checks: dict[str, list[Check]]) -> pd.DataFrame:
    """Return all checks of all data sets: dataset, check, status, found."""
    lines = [(name, *check) for name, found in checks.items() for check in found]
    return pd.DataFrame(lines, columns=["dataset", "check", "status", "found"])
