"""Every bar of the assessment from both sides: what just passes, just warns, and just fails."""

import pandas as pd
import pytest

from stages.report.assessment import checks_of, checks_of_results
from stages.report.vocabulary import CLEAN, Threat

IMAGES = 400  # two standard errors of an accuracy are at most 0.05
EXACT = {
    "eps 0 changes nothing": "changed_at_eps_0",
    "|δ| <= eps in every stored file": "outside",
    "logits repeat": "logits_differ",
    "images reloaded from disk score the same": "reload_differs",
}
BARS = [  # check, attack or measure, eps, steps, the statuses of its values; the other values are those of `measured`
    ("accuracy falls with eps", "pgd", 2, 40, {0.6: "pass", 0.6001: "warn", 0.6099: "warn", 0.6101: "fail"}),
    ("accuracy falls with eps", "pgd", 1, 40, {0.8: "pass", 0.8001: "warn", 0.8101: "fail"}),
    ("at eps 64 at most 2 % are left", "pgd", 64, 40, {0.0: "pass", 0.02: "pass", 0.0201: "fail"}),
    (
        "more steps are no weaker", "pgd", 4, 10,
        {0.33: "pass", 0.4099: "pass", 0.4101: "warn", 0.4499: "warn", 0.4501: "fail"},
    ),
    (
        "random noise of eps 4 hardly matters", "noise", 4, 0,
        {1.0: "pass", 0.7501: "pass", 0.7499: "warn", 0.5501: "warn", 0.5499: "fail"},
    ),
    (
        "gradients are not zero", "zero_gradients", 4, 1,
        {0.0: "pass", 0.01: "pass", 0.0101: "warn", 0.0999: "warn", 0.1: "fail"},
    ),
    (
        "the loss rises along the attack", "loss_rises", 4, 10,
        {1.0: "pass", 0.9501: "pass", 0.9499: "warn", 0.8001: "warn", 0.7999: "fail"},
    ),
    (
        "AutoAttack is no weaker than PGD", "autoattack", 4, 100,
        {0.0: "pass", 0.3: "pass", 0.3001: "warn", 0.3099: "warn", 0.3101: "fail"},
    ),
    (
        "the adaptive suite comes near AutoAttack", "autoattack", 4, 100,
        {1.0: "pass", 0.2501: "pass", 0.2499: "warn", 0.1001: "warn", 0.0999: "fail"},
    ),
    (
        "Square gains at most a point over gradients", "square_gain", 4, 500,
        {0.0: "pass", 0.01: "pass", 0.0101: "warn", 0.0299: "warn", 0.0301: "fail"},
    ),
]  # fmt: skip


def measured(images: int = IMAGES) -> pd.DataFrame:
    """What an honest model shows: 80 % clean, 30 % at eps 4."""
    lines = [(measure, "pgd", 4, 10, 0.0) for measure in EXACT.values()]
    lines += [("accuracy", "noise", eps, 0, value) for eps, value in {0: 0.8, 4: 0.79}.items()]
    by_eps = {(0, 10): 0.8, (1, 40): 0.6, (2, 40): 0.5, (4, 40): 0.3, (64, 40): 0.0}
    by_steps = {(4, 5): 0.4, (4, 10): 0.35, (4, 20): 0.32}
    lines += [("accuracy", "pgd", *at, value) for at, value in {**by_eps, **by_steps}.items()]
    lines += [("accuracy", "margin", 4, steps, 0.3) for steps in (5, 10, 20, 40)]
    lines += [("zero_gradients", "pgd", 4, 1, 0.0), ("loss_rises", "pgd", 4, 10, 1.0)]
    lines += [("pgd_of_autoattack_images", "pgd", 4, 40, 0.3), ("autoattack", "autoattack", 4, 100, 0.3)]
    lines += [("suite_of_autoattack_images", "suite", 4, 32, 0.3), ("square_gain", "square", 4, 500, 0.0)]
    return pd.DataFrame(lines, columns=["measure", "attack", "eps", "steps", "value"]).assign(n=images)


def status_of(table: pd.DataFrame) -> dict[str, str]:
    """The verdict of each check."""
    return {check.name: check.status for check in checks_of(table)}


def with_value(table: pd.DataFrame, name: str, eps: int, steps: int, value: float) -> pd.DataFrame:
    """The table with one number of a measure, or of the accuracies under an attack, replaced."""
    at = (table["eps"] == eps) & (table["steps"] == steps)
    at &= (table["measure"] == name) | ((table["measure"] == "accuracy") & (table["attack"] == name))
    assert at.sum() == 1
    return table.assign(value=table["value"].where(~at, value))


def test_every_check_of_measurements_has_its_bar_here():
    found = status_of(measured())
    assert set(found) == {*EXACT, *(name for name, *_ in BARS)} and len(found) == 13
    assert set(found.values()) == {"pass"}


@pytest.mark.parametrize(("check", "measure"), EXACT.items())
def test_what_must_hold_exactly_fails_at_the_first_exception(check, measure):
    table = measured()
    assert status_of(table.assign(value=table["value"].where(table["measure"] != measure, 1)))[check] == "fail"


@pytest.mark.parametrize(("check", "name", "eps", "steps", "statuses"), BARS, ids=lambda value: str(value)[:30])
def test_a_bar_stands_where_it_is_said_to(check, name, eps, steps, statuses):
    found = {value: status_of(with_value(measured(), name, eps, steps, value))[check] for value in statuses}
    assert found == statuses


def test_more_steps_may_be_weaker_by_two_standard_errors_of_the_images():
    statuses = {0.4999: "warn", 0.5001: "fail"}  # of 100 images: 0.1
    found = {
        value: status_of(with_value(measured(100), "pgd", 4, 10, value))["more steps are no weaker"]
        for value in statuses
    }
    assert found == statuses


def test_noise_may_take_half_of_what_the_attack_takes():
    table = with_value(measured(), "pgd", 4, 40, 0.5)
    statuses = {0.6501: "warn", 0.6499: "fail"}
    name = "random noise of eps 4 hardly matters"
    assert {value: status_of(with_value(table, "noise", 4, 0, value))[name] for value in statuses} == statuses


WEAK, STRONG = (
    Threat("weak", "oblivious", {"method": "pgd", "eps": 4}),
    Threat("s", "adaptive", {"method": "pgd", "eps": 4}),
)


def judged(threat: Threat, right: dict[int, list[bool]], prompt: str = "advpt") -> pd.DataFrame:
    """Rows of a threat: by tuning seed, whether each of the first images is classified correctly."""
    lines = [(f"{number}", prompt, seed, correct) for seed in right for number, correct in enumerate(right[seed])]
    table = pd.DataFrame(lines, columns=["id", "prompt", "seed", "correct"])
    return table.assign(threat=threat.name, defence=threat.defence)


def check_of(weak: dict[int, list[bool]], strong: dict[int, list[bool]], *, clean: dict[int, list[bool]] | None = None):
    """The one check of two threats, where the clean images are classified correctly."""
    clean = clean or {seed: [True] * len(right) for seed, right in weak.items()}
    rows = {"clean": judged(CLEAN, clean), "weak": judged(WEAK, weak), "s": judged(STRONG, strong)}
    (check,) = checks_of_results(rows, [WEAK, STRONG], [], prompt="advpt")
    return check


@pytest.mark.parametrize(
    ("more", "less", "status"),
    [(0, 0, "pass"), (12, 12, "pass"), (12, 30, "pass"), (1, 0, "warn"), (3, 0, "warn"), (4, 0, "fail"),
     (23, 12, "warn"), (24, 12, "fail")],
)  # fmt: skip
def test_an_adaptive_attack_may_be_weaker_by_two_standard_errors_of_the_paired_difference(more, less, status):
    """Of 100 images, 24 more and 12 fewer: 0.12 > 2 * sqrt((0.36 - 0.12**2) / 100) = 0.1176."""
    weak = [False] * more + [True] * less + [True] * 30 + [False] * (70 - more - less)
    strong = [True] * more + [False] * less + [True] * 30 + [False] * (70 - more - less)
    check = check_of({0: weak}, {0: strong})
    assert check.status == status
    assert check.found == f"{0.3 + more / 100:.1%} against {0.3 + less / 100:.1%} on the same 100 images"


def test_a_subset_is_compared_with_the_same_images_not_with_all_of_them():
    """Where the subset is easy the accuracies of all images would fail the attack, where it is hard pass it."""
    easy = [True] * 210 + [False] * 90 + [True] * 290 + [False] * 410  # 70 % of the subset, 50 % of all
    check = check_of({0: easy}, {0: [True] * 180 + [False] * 120})
    assert (check.status, check.found) == ("pass", "60.0% against 70.0% on the same 300 images")
    hard = [True] * 60 + [False] * 240 + [True] * 440 + [False] * 260  # 20 % of the subset, 50 % of all
    check = check_of({0: hard}, {0: [True] * 120 + [False] * 180})
    assert (check.status, check.found) == ("fail", "40.0% against 20.0% on the same 300 images")


def test_an_attack_on_one_tuning_seed_is_compared_by_that_seed():
    weak = {0: [True] * 50 + [False] * 50, 1: [False] * 100, 2: [False] * 100}
    check = check_of(weak, {0: [True] * 40 + [False] * 10})
    assert (check.status, check.found) == ("pass", "80.0% against 100.0% on the same 50 images")


def test_tuning_seeds_that_both_attack_count_as_one_image():
    """Two seeds of 4 images: the standard error is that of 4 means, sqrt(0.25 / 4) = 0.25, not of 8 rows."""
    strong = {seed: [True, True, False, False] for seed in (0, 1)}
    check = check_of({0: [False] * 4, 1: [False] * 4}, strong)
    assert (check.status, check.found) == ("warn", "50.0% against 0.0% on the same 4 images")


def test_an_image_that_is_wrong_without_attack_is_not_robust():
    clean = {0: [False] * 4 + [True] * 96}
    check = check_of({0: [False] * 100}, {0: [True] * 4 + [False] * 96}, clean=clean)
    assert (check.status, check.found) == ("pass", "0.0% against 0.0% on the same 100 images")


def test_threats_through_a_defence_are_compared_behind_it():
    defended = [Threat(threat.name, threat.knowledge, threat.attack, "jpeg75") for threat in (WEAK, STRONG)]
    rows = {"clean+jpeg75": judged(Threat("clean+jpeg75", "clean", {}, "jpeg75"), {0: [True] * 10})}
    rows |= {threat.name: judged(threat, {0: [True] * 5 + [False] * 5}) for threat in defended}
    (check,) = checks_of_results(rows, defended, [], prompt="advpt")
    assert (check.status, check.found) == ("pass", "50.0% against 50.0% on the same 10 images")


@pytest.mark.parametrize(
    "other",
    [
        Threat("s", "adaptive", {"method": "pgd", "eps": 8}),
        Threat("s", "adaptive", {"method": "pgd", "eps": 4}, "jpeg75"),
        Threat("s", "adaptive", {"method": "square", "eps": 4}),
        Threat("s", "oblivious", {"method": "pgd", "eps": 4}),
    ],
    ids=["eps", "defence", "square", "oblivious"],
)
def test_only_gradients_through_the_prompt_of_the_same_ball_and_defence_are_held_against_it(other):
    assert checks_of_results({}, [WEAK, other], [], prompt="advpt") == []


@pytest.mark.parametrize(
    ("robust", "status"), [(0.0, "pass"), (0.1599, "pass"), (0.1601, "warn"), (0.3999, "warn"), (0.4001, "fail")]
)
def test_a_surrogate_may_keep_a_fifth_of_its_accuracy(robust, status):
    about = {"threat": "transfer", "name": "cnn", "clean_accuracy": 0.8, "robust_accuracy": robust}
    (check,) = checks_of_results({}, [], [about], prompt="advpt")
    assert check.status == status
