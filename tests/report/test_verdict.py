"""The sentences of the verdict, on numbers made by hand, in every case that they can be in."""

import pandas as pd
import pytest

from stages.report.verdict import caution, verdict
from stages.report.vocabulary import CLEAN, Threat
from tests.report.studies import ADVPT, KNOWING, PGD, ZERO_SHOT, line_of, many_methods, study_of
from tests.report.test_classes import many

METHODS = [ZERO_SHOT, ADVPT]
CLASSES = many(3)
LOST = "the class that loses most is “class 0”, 0.0 % instead of 50.0 % (n = 50)."


def study(*cases, title="tiny"):
    """Two methods by accuracies (threat, reference, AdvPT, p) of one data set."""
    lines = [
        line_of(threat, method, accuracy, p=p)
        for threat, *accuracies, p in cases
        for method, accuracy in zip(METHODS, accuracies, strict=True)
    ]
    return study_of(*lines, title=title, methods=METHODS, threats=[threat for threat, *_ in cases])


def test_a_gain_that_costs_and_that_an_adaptive_attacker_removes():
    found = study((CLEAN, 0.9, 0.7, 0.0001), (PGD, 0.3, 0.5, 0.0001), (KNOWING, 0.1, 0.12, 0.3))
    assert verdict([found], PGD, CLASSES) == [
        "AdvPT loses 20.0 points on clean images (70.0 % instead of 90.0 %, n = 100, p < 0.001), "
        "gains 20.0 points under pgd_eps8 (50.0 % instead of 30.0 %, n = 100, p < 0.001), "
        "is within noise under knowing (12.0 % instead of 10.0 %, n = 100, p = 0.3); " + LOST
    ]


def test_without_attacks_of_a_kind_nothing_is_concluded():
    loses, oblivious, adaptive = verdict([study((CLEAN, 0.9, 0.7, 0.01))], CLEAN, CLASSES)
    assert loses.startswith("AdvPT loses 20.0 points on clean images (70.0 %")
    assert oblivious == "No oblivious attack was run, so nothing is known about gains under attack."
    assert adaptive == "No adaptive attack was run, so nothing is known about attackers who know the method."


def test_an_adaptive_attack_of_another_eps_is_no_answer():
    weak, strong = (Threat(f"eps{eps:g}", "adaptive", {"method": "pgd", "eps": eps}) for eps in (4.0, 24.0))
    cases = [(CLEAN, 0.9, 0.7, 0.01), (PGD, 0.3, 0.5, 0.01), (strong, 0.0, 0.0, 1), (weak, 0.2, 0.1, 0.01)]
    found, missing = verdict([study(*cases)], PGD, CLASSES)
    assert found.index("loses 10.0 points under eps4") < found.index("is within noise under eps24")
    assert missing == "No adaptive attack of eps 8/255, that of pgd_eps8, was run."


def test_of_several_data_sets_effects_are_counted_and_accuracies_averaged():
    """A gain, a loss and noise; the mean of 0.4, 0.2 and 0.3 is 0.3."""
    cases = (("a", 0.2, 0.4, 0.01), ("b", 0.4, 0.2, 0.01), ("c", 0.2, 0.3, 0.5))
    studies = [study((CLEAN, *rest), (KNOWING, *rest), title=title) for title, *rest in cases]
    found, _ = verdict(studies, CLEAN, pd.concat([CLASSES, CLASSES.assign(dataset="b", gain=0.5)]))
    counts = "on average over 3 data sets (a gain on 1, a loss on 1, within noise on 1)"
    assert found.startswith(f"AdvPT reaches 30.0 % instead of 26.7 % on clean images {counts}, reaches 30.0 %")
    assert "; the class that loses most is “class 0” of " in found


@pytest.mark.parametrize(("count", "sentences"), [(2, 1), (7, 6), (8, 2), (20, 2)])
def test_of_many_methods_the_best_and_the_worst_are_mentioned(count, sentences):
    methods = many_methods(count)
    lines = [line_of(PGD, method, 0.5 + at / 100) for at, method in enumerate(methods)]
    lines += [line_of(CLEAN, method, 0.9) for method in methods]
    classes = pd.concat([many(3).assign(method=method.name) for method in methods])
    found = verdict([study_of(*lines, methods=methods, threats=[CLEAN, PGD])], PGD, classes)[:-1]
    assert len(found) == sentences
    if sentences == 2:
        assert found[0].startswith(f"Method {count - 1} ") and found[1].startswith("Method 1 ")


def test_failed_checks_and_validation_images_are_cautions():
    assert caution(["pass", "warn"], validation=0) == []
    assert caution(["pass", "fail"], validation=0)[0].startswith("1 check of the attacks fails")
    failed, validation = caution(["fail", "fail"], validation=0.25)
    assert failed.startswith("2 checks of the attacks fail (see")
    assert validation.startswith("Evaluated on validation images, 25% of the training images")
