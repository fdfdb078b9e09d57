"""The checks of the assessment: honest measurements pass, each sign of a weak attack is found, chance is not."""

import pandas as pd
import pytest
from scipy.stats import binomtest

from stages.report.assessment import (
    MASKED,
    Check,
    checks_of,
    checks_of_others,
    checks_of_results,
    checks_of_suite,
    curve,
    graded,
)
from stages.report.vocabulary import CLEAN, Threat
from tests.report.studies import ADVPT, COOP, SIGNS, measured

FELLED = [  # check, attack or sign, eps, steps, share of true outcomes that must fail; all else is as in `measured`
    ("eps 0 changes nothing", "changed_at_eps_0", 4, 10, 0.01),
    ("|δ| <= eps in every stored file", "outside", 4, 10, 0.01),
    ("logits repeat", "logits_differ", 4, 10, 0.01),
    ("images reloaded from disk score the same", "reload_differs", 4, 10, 0.01),
    ("logits do not depend on the batch", "batch_matters", 4, 10, 0.01),
    ("gradients are not zero", "zero_gradients", 4, 10, 0.1),
    ("the gate has a gradient", "zero_gate_gradients", 4, 10, 0.1),
    ("the loss rises along the attack", "loss_stays", 4, 10, 0.2),
    ("accuracy falls with eps", "pgd", 2, 10, 0.7),
    ("at eps 64 at most 2 % are left", "pgd", 64, 10, 0.1),
    ("more steps are no weaker", "pgd", 4, 20, 0.4),
    ("noise of eps 4 hardly matters", "noise", 4, 0, 0.3),
    ("AutoAttack is no weaker than PGD", "autoattack", 4, 100, 0.4),
    ("Square gains at most a point over gradients", "square", 4, 500, 0.2),
    ("no attack helps", "autoattack", 4, 100, 0.9),
]


def with_value(table: pd.DataFrame, name: str, eps: int, steps: int, value: float) -> pd.DataFrame:
    """The table with another share of images in which a sign is true, or which are correct after an attack."""
    at = (table["eps"] == eps) & (table["steps"] == steps) & ((table["measure"] == name) | (table["attack"] == name))
    if name not in SIGNS:
        at &= table["measure"] == "correct"
    assert at.sum() == len(set(table["id"]))
    return table.assign(outcome=table["outcome"].where(~at, table["image"] < value * at.sum()))


def by_name(checks: list[Check]) -> dict[str, Check]:
    assert len({check.name for check in checks}) == len(checks)
    return {check.name: check for check in checks}


@pytest.mark.parametrize("images", [40, 200])
def test_honest_measurements_pass_every_check(images):
    found = by_name(checks_of(measured(images)))
    assert set(found) == {name for name, *_ in FELLED} and {check.status for check in found.values()} == {"pass"}


@pytest.mark.parametrize(("check", "name", "eps", "steps", "value"), FELLED, ids=lambda value: str(value)[:30])
def test_a_sign_of_a_weak_attack_is_found_and_says_what_to_do(check, name, eps, steps, value):
    found = by_name(checks_of(with_value(measured(200), name, eps, steps, value)))[check]
    assert found.status == "fail" and "; " in found.found


@pytest.mark.parametrize(("of", "allowed"), [(200, 0.01), (40, 0.01), (30, 0.5), (200, 0.0)])
def test_a_check_warns_and_fails_where_an_exact_interval_excludes_what_is_allowed(of, allowed):
    """Clopper-Pearson, of 80 and 99 %: an honest evaluation fails with a probability of at most 0.5 %."""
    for count in range(of + 1):
        lows = [binomtest(count, of).proportion_ci(level, "exact").low for level in (0.8, 0.99)]
        expected = ["pass", "warn", "fail"][sum(low > allowed for low in lows)]
        assert graded("", count, of, allowed, "", "").status == expected
    assert graded("", 0, 0, allowed, "", "").status == "pass"


# check, attack or sign, eps, steps, images of 200 that are right if none is wrong, images that count, share allowed
SHARES = [
    *((check, name, eps, steps, 0, 200, 0.0) for check, name, eps, steps, _ in FELLED[:5]),
    ("gradients are not zero", "zero_gradients", 4, 10, 0, 200, 0.01),
    ("the gate has a gradient", "zero_gate_gradients", 4, 10, 0, 200, 0.01),
    ("the loss rises along the attack", "loss_stays", 4, 10, 0, 200, 0.05),
    ("at eps 64 at most 2 % are left", "pgd", 64, 10, 0, 200, 0.02),
    ("Square gains at most a point over gradients", "square", 4, 500, 60, 200, 0.01),
    ("noise of eps 4 hardly matters", "noise", 4, 0, 160, 90, 0.5),
]


@pytest.mark.parametrize(("check", "name", "eps", "steps", "right", "of", "allowed"), SHARES)
def test_the_share_that_a_check_allows_is_the_stated_one(check, name, eps, steps, right, of, allowed):
    """At the numbers of images on which something is wrong between which the status changes."""
    lows = [[binomtest(wrong, of).proportion_ci(level, "exact").low for level in (0.8, 0.99)] for wrong in range(of)]
    expected = [["pass", "warn", "fail"][sum(low > allowed for low in both)] for both in lows]
    changes = [wrong for wrong in range(1, of) if expected[wrong - 1] != expected[wrong]]
    assert changes
    for wrong in {*changes, *(before - 1 for before in changes)}:
        value = (abs(right - wrong) - 0.5) / 200  # so many images lie below it
        found = by_name(checks_of(with_value(measured(200), name, eps, steps, value)))[check]
        assert found.status == expected[wrong], wrong


def test_robust_accuracy_counts_images_that_are_correct_clean_too():
    table = with_value(measured(200), "autoattack", 4, 100, 0.9)
    assert curve(table, "autoattack", "steps").tolist() == [0.8]
    assert curve(table, "pgd", "eps").round(2).to_dict() == {0: 0.8, 1: 0.6, 2: 0.5, 4: 0.35, 64: 0.0}
    assert curve(table, "pgd", "steps").round(2).to_dict() == {5: 0.4, 10: 0.35, 20: 0.32, 40: 0.3}


def test_images_of_the_undefended_method_may_not_be_stronger():
    lines = with_value(measured(200), "autoattack", 4, 100, 0.1).query("attack == 'autoattack'")
    table = pd.concat([measured(200), lines.assign(attack="undefended")])
    check = by_name(checks_of(table))["PGD through the defence is no weaker than PGD without it"]
    assert (
        check.status == "fail"
        and check.found.startswith("30.0% against 10.0% on the same 200")
        and MASKED in check.found
    )


SUITE = Threat("suite", "adaptive", {"method": "suite", "eps": 4})


@pytest.mark.parametrize(("value", "status"), [(0.3, "pass"), (0.25, "pass"), (0.36, "fail")])
def test_the_reported_suite_is_compared_with_autoattack_on_images_and_seed_of_both(value, status):
    table = measured(200)
    correct = {0: [at < value * 200 for at in range(200)], 1: [True] * 300}
    checks = checks_of_suite(table, {"suite": predicted(SUITE, correct)}, [CLEAN, WEAK, SUITE], method=ADVPT)
    assert {check.status for check in checks} == {status}
    assert [check.name for check in checks] == [
        f"suite is no weaker than {of}" for of in ("AutoAttack", "Square after PGD")
    ]


@pytest.mark.parametrize(("share", "status"), [(0.19, "pass"), (0.21, "warn"), (0.49, "warn"), (0.51, "fail")])
def test_a_surrogate_may_keep_a_fifth_of_its_accuracy(share, status):
    about = {"threat": "transfer", "name": "cnn", "clean_accuracy": 0.8, "robust_accuracy": 0.8 * share}
    (check,) = checks_of_results({}, [], [about], method=ADVPT)
    assert (check.name, check.status) == ("transfer fools its own surrogate", status)
    assert ("; " in check.found) == (status != "pass")


WEAK = Threat("weak", "oblivious", {"method": "pgd", "eps": 4})
STRONG = Threat("s", "adaptive", {"method": "pgd", "eps": 4})
STRONG_8 = Threat("s", "adaptive", {"method": "pgd", "eps": 8})


def predicted(threat: Threat, correct: dict[int, list[bool]], method=ADVPT) -> pd.DataFrame:
    """Rows of a threat: by tuning seed, whether each of the first images is classified correctly."""
    lines = [(f"{number}", method.name, seed, right) for seed in correct for number, right in enumerate(correct[seed])]
    return pd.DataFrame(lines, columns=["id", "method", "seed", "correct"]).assign(threat=threat.name)


def check_of(weak: dict[int, list[bool]], strong: dict[int, list[bool]], *, clean: dict[int, list[bool]] | None = None):
    """The check of two threats on the assessed method; another method is always correct."""
    clean = clean or {seed: [True] * len(right) for seed, right in weak.items()}
    predictions = {}
    for threat, correct in ((CLEAN, clean), (WEAK, weak), (STRONG, strong)):
        other = predicted(threat, {seed: [True] * len(right) for seed, right in correct.items()}, COOP)
        predictions[threat.name] = pd.concat([other, predicted(threat, correct)])
    return by_name(checks_of_results(predictions, [WEAK, STRONG], [], method=ADVPT))["s is no weaker than weak"]


@pytest.mark.parametrize(
    ("more", "less", "status"),
    [(0, 0, "pass"), (12, 12, "pass"), (12, 30, "pass"), (3, 0, "pass"), (4, 0, "warn"), (8, 0, "fail"),
     (20, 10, "warn"), (24, 8, "fail")],
)  # fmt: skip
def test_an_adaptive_attack_may_be_weaker_by_what_is_chance_among_images_that_differ(more, less, status):
    weak = [False] * more + [True] * less + [True] * 30 + [False] * (70 - more - less)
    strong = [True] * more + [False] * less + [True] * 30 + [False] * (70 - more - less)
    check = check_of({0: weak}, {0: strong})
    assert check.status == status
    assert check.found.startswith(f"{0.3 + more / 100:.1%} against {0.3 + less / 100:.1%} on the same 100 images")


def test_a_subset_is_compared_with_the_same_images_not_with_all_of_them():
    """Where the subset is easy the accuracies of all images would fail the attack, where it is hard pass it."""
    easy = [True] * 210 + [False] * 90 + [True] * 290 + [False] * 410  # 70 % of the subset, 50 % of all
    check = check_of({0: easy}, {0: [True] * 180 + [False] * 120})
    assert (check.status, check.found) == ("pass", "60.0% against 70.0% on the same 300 images")
    hard = [True] * 60 + [False] * 240 + [True] * 440 + [False] * 260  # 20 % of the subset, 50 % of all
    assert check_of({0: hard}, {0: [True] * 120 + [False] * 180}).status == "fail"


def test_adaptive_attacks_may_be_weaker_on_no_method():
    """Of each method the worst comparison is shown, under the name of the method."""
    right = [(CLEAN, [True], [True]), (WEAK, [False], [True]), (STRONG, [True], [False])]
    predictions = {
        threat.name: pd.concat([predicted(threat, {0: 40 * first}), predicted(threat, {0: 40 * second}, COOP)])
        for threat, first, second in right
    }
    first, second = checks_of_others(predictions, [WEAK, STRONG], [ADVPT, COOP])
    assert first.name == f"{ADVPT.label}: adaptive threats are no weaker than oblivious ones" != second.name
    assert first.status == "fail" and second.status == "pass"
    assert first.found.startswith("s is no weaker than weak: 100.0% against 0.0% on the same 40 images; give the adap")
    assert second.found == "s is no weaker than weak: 0.0% against 100.0% on the same 40 images"
    assert checks_of_others(predictions, [WEAK], [ADVPT, COOP]) == []


def test_tuning_seeds_that_both_attack_count_as_one_image():
    """Seven images with two seeds are 14 rows: enough to fail if they counted apart."""
    wrong = {seed: [False] * 7 for seed in (0, 1, 2)}
    check = check_of(wrong, {seed: [True] * 7 for seed in (0, 1)})
    assert check.status == "warn" and check.found.startswith("100.0% against 0.0% on the same 7 images")


def test_an_image_that_is_wrong_without_attack_is_not_robust():
    clean = {0: [False] * 10 + [True] * 90}
    check = check_of({0: [False] * 100}, {0: [True] * 10 + [False] * 90}, clean=clean)
    assert (check.status, check.found) == ("pass", "0.0% against 0.0% on the same 100 images")


@pytest.mark.parametrize(("strong", "status"), [(None, "fail"), (SUITE, "warn"), (STRONG_8, "fail")])
def test_a_threat_that_helps_is_found_and_is_a_warning_beside_an_adaptive_one_of_its_eps(strong, status):
    correct = [(CLEAN, [False] * 60 + [True] * 40), (WEAK, [True] * 80 + [False] * 20)]
    correct += [(strong, [False] * 100)] if strong else []
    predictions = {one.name: predicted(one, {0: right}) for one, right in correct}
    found = by_name(checks_of_results(predictions, [one for one, _ in correct], [], method=ADVPT))["no threat helps"]
    assert found.status == status and "answers weak itself" in found.found


@pytest.mark.parametrize(
    "other",
    [
        STRONG_8,
        Threat("s", "adaptive", {"method": "square", "eps": 4}),
        Threat("s", "oblivious", {"method": "pgd", "eps": 4}),
    ],
    ids=["eps", "square", "oblivious"],
)
def test_only_gradients_through_the_method_in_the_same_ball_are_compared(other):
    predictions = {one.name: predicted(one, {0: [True]}) for one in (CLEAN, WEAK, other)}
    checks = checks_of_results(predictions, [WEAK, other], [], method=ADVPT)
    assert [check.name for check in checks] == ["no threat helps"]
