"""Every bar of the assessment, just below and just above it."""

import pandas as pd
import pytest

from stages.report.assessment import checks_of, checks_of_results
from stages.report.vocabulary import CLEAN, Threat
from tests.report.studies import ADVPT, COOP, measured

BARS = [  # check, attack or measure, eps, steps, where it begins to warn and to fail; all else is as in `measured`
    ("eps 0 changes nothing", "changed_at_eps_0", 4, 10, 0, 0),
    ("|δ| <= eps in every stored file", "outside", 4, 10, 0, 0),
    ("logits repeat", "logits_differ", 4, 10, 0, 0),
    ("images reloaded from disk score the same", "reload_differs", 4, 10, 0, 0),
    ("accuracy falls with eps", "pgd", 2, 40, 0.6, 0.61),
    ("accuracy falls with eps", "pgd", 1, 40, 0.8, 0.81),
    ("at eps 64 at most 2 % are left", "pgd", 64, 40, 0.02, 0.02),
    ("more steps are no weaker", "pgd", 4, 10, 0.41, 0.45),
    ("random noise of eps 4 hardly matters", "noise", 4, 0, 0.75, 0.55),
    ("gradients are not zero", "zero_gradients", 4, 1, 0.01, 0.1 - 1e-9),
    ("the loss rises along the attack", "loss_rises", 4, 10, 0.95, 0.8),
    ("AutoAttack is no weaker than PGD", "autoattack", 4, 100, 0.3, 0.31),
    ("the adaptive suite comes near AutoAttack", "autoattack", 4, 100, 0.25, 0.1),
    ("Square gains at most a point over gradients", "square_gain", 4, 500, 0.01, 0.03),
]
SMALLER_IS_WORSE = {check for check, *_, warn, fail in BARS if fail < warn}
CLOSE = 1e-6


def status_of(table: pd.DataFrame) -> dict[str, str]:
    return {check.name: check.status for check in checks_of(table)}


def with_value(table: pd.DataFrame, name: str, eps: int, steps: int, value: float) -> pd.DataFrame:
    """The table with one number of a measure, or of the accuracies under an attack, replaced."""
    at = (table["eps"] == eps) & (table["steps"] == steps)
    at &= (table["measure"] == name) | ((table["measure"] == "accuracy") & (table["attack"] == name))
    assert at.sum() == 1
    return table.assign(value=table["value"].where(~at, value))


def test_every_check_of_measurements_has_its_bar_here():
    found = status_of(measured())
    assert set(found) == {name for name, *_ in BARS} and len(found) == 13
    assert set(found.values()) == {"pass"}


@pytest.mark.parametrize(("check", "name", "eps", "steps", "warn", "fail"), BARS, ids=lambda value: str(value)[:30])
def test_a_bar_is_where_it_is_documented(check, name, eps, steps, warn, fail):
    worse = -CLOSE if check in SMALLER_IS_WORSE else CLOSE
    expected = {warn - worse: "pass", warn + worse: "warn", fail - worse: "warn", fail + worse: "fail"}
    if warn == fail:
        expected = {warn - worse: "pass", warn: "pass", fail + worse: "fail"}
    if name == "zero_gradients":
        expected = {0.01: "pass", 0.01 + CLOSE: "warn", 0.1 - 2e-9: "warn", 0.1: "fail"}  # 10 % exactly fails
    found = {value: status_of(with_value(measured(), name, eps, steps, value))[check] for value in expected}
    assert found == expected


def test_more_steps_may_be_weaker_by_two_standard_errors_of_the_images():
    statuses = {0.5 - CLOSE: "warn", 0.5 + CLOSE: "fail"}  # of 100 images: 0.1
    tables = {value: with_value(measured(100), "pgd", 4, 10, value) for value in statuses}
    assert {value: status_of(table)["more steps are no weaker"] for value, table in tables.items()} == statuses


def test_noise_may_take_half_of_what_the_attack_takes():
    table = with_value(measured(), "pgd", 4, 40, 0.5)
    statuses = {0.65 + CLOSE: "warn", 0.65 - CLOSE: "fail"}
    name = "random noise of eps 4 hardly matters"
    assert {value: status_of(with_value(table, "noise", 4, 0, value))[name] for value in statuses} == statuses


@pytest.mark.parametrize(("share", "status"), [(0.2 - CLOSE, "pass"), (0.2 + CLOSE, "warn"), (0.5 - CLOSE, "warn")])
def test_a_surrogate_may_keep_a_fifth_of_its_accuracy(share, status):
    about = {"threat": "transfer", "name": "cnn", "clean_accuracy": 0.8}
    (check,) = checks_of_results({}, [], [about | {"robust_accuracy": 0.8 * share}], method=ADVPT)
    assert check.status == status
    (failed,) = checks_of_results({}, [], [about | {"robust_accuracy": 0.8 * (0.5 + CLOSE)}], method=ADVPT)
    assert failed.status == "fail" and failed.name == "transfer fools its own surrogate"


WEAK = Threat("weak", "oblivious", {"method": "pgd", "eps": 4})
STRONG = Threat("s", "adaptive", {"method": "pgd", "eps": 4})


def predicted(threat: Threat, correct: dict[int, list[bool]], method=ADVPT) -> pd.DataFrame:
    """Rows of a threat: by tuning seed, whether each of the first images is classified correctly."""
    lines = [(f"{number}", method.name, seed, right) for seed in correct for number, right in enumerate(correct[seed])]
    return pd.DataFrame(lines, columns=["id", "method", "seed", "correct"]).assign(threat=threat.name)


def check_of(weak: dict[int, list[bool]], strong: dict[int, list[bool]], *, clean: dict[int, list[bool]] | None = None):
    """The one check of two threats on the assessed method; another method is always correct."""
    clean = clean or {seed: [True] * len(right) for seed, right in weak.items()}
    predictions = {}
    for threat, correct in ((CLEAN, clean), (WEAK, weak), (STRONG, strong)):
        other = predicted(threat, {seed: [True] * len(right) for seed, right in correct.items()}, COOP)
        predictions[threat.name] = pd.concat([other, predicted(threat, correct)])
    (check,) = checks_of_results(predictions, [WEAK, STRONG], [], method=ADVPT)
    return check


@pytest.mark.parametrize(
    ("more", "less", "status"),
    [(0, 0, "pass"), (12, 12, "pass"), (12, 30, "pass"), (1, 0, "warn"), (3, 0, "warn"), (4, 0, "fail"),
     (23, 12, "warn"), (24, 12, "fail"), (15, 6, "fail")],
)  # fmt: skip
def test_an_adaptive_attack_may_be_weaker_by_two_standard_errors_of_the_paired_difference(more, less, status):
    """Of 100 images, 15 more and 6 fewer: 0.09 > 2 * sqrt((0.21 - 0.09**2) / 100) = 0.0899."""
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


@pytest.mark.parametrize(
    "other",
    [
        Threat("s", "adaptive", {"method": "pgd", "eps": 8}),
        Threat("s", "adaptive", {"method": "square", "eps": 4}),
        Threat("s", "oblivious", {"method": "pgd", "eps": 4}),
    ],
    ids=["eps", "square", "oblivious"],
)
def test_only_gradients_through_the_method_in_the_same_ball_are_compared(other):
    assert checks_of_results({}, [WEAK, other], [], method=ADVPT) == []
