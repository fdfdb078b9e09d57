"""The sentences of the verdict, on numbers made by hand, in every case that they can be in."""

from dataclasses import replace

import pandas as pd
import pytest

from stages.report.threats import worst_threats
from stages.report.verdict import caution, closing_line, unequal_sizes, verdict
from stages.report.vocabulary import CLEAN, Threat
from tests.report.studies import ADVPT, KNOWING, PGD, ZERO_SHOT, line_of, many_methods, study_of
from tests.report.test_classes import many

METHODS = [ZERO_SHOT, ADVPT]
CLASSES = many(3)
LOST = "; the class that loses most is “class 0”, 0.0 % instead of 50.0 % (n = 50)."


def sentences(*cases, headline=PGD):
    """The sentences on AdvPT by accuracies (threat, reference, AdvPT, p) of one data set."""
    lines = [
        line_of(threat, method, accuracy, p=p)
        for threat, *accuracies, p in cases
        for method, accuracy in zip(METHODS, accuracies, strict=True)
    ]
    study = study_of(*lines, methods=METHODS, threats=[threat for threat, *_ in cases])
    found = verdict([study], headline, CLASSES)
    assert list(found) == [
        "Gain under oblivious attacks, compared with hand-written",
        "Price on clean images, compared with hand-written",
        "Gain under adaptive attacks, compared with hand-written",
    ]
    return list(found.values())


def test_a_gain_that_costs_and_that_an_adaptive_attacker_removes():
    gain, price, adaptive = sentences((CLEAN, 0.9, 0.7, 0.0001), (PGD, 0.3, 0.5, 0.0001), (KNOWING, 0.1, 0.12, 0.3))
    assert gain == ["AdvPT gains 20.0 points under pgd_eps8 (50.0 % instead of 30.0 %, n = 100, p < 0.001)."]
    assert price == ["AdvPT loses 20.0 points (70.0 % instead of 90.0 %, n = 100, p < 0.001)" + LOST]
    assert adaptive == ["AdvPT is within noise under knowing (12.0 % instead of 10.0 %, n = 100, p = 0.3)."]


def test_losses_are_called_losses_and_gains_gains():
    (gain,), (price,), (adaptive,) = sentences(
        (CLEAN, 0.8, 0.9, 0.01), (PGD, 0.5, 0.3, 0.01), (KNOWING, 0.1, 0.2, 0.01)
    )
    assert gain.startswith("AdvPT loses 20.0 points under pgd_eps8")
    assert price.startswith("AdvPT gains 10.0 points (90.0 %")
    assert adaptive.startswith("AdvPT gains 10.0 points under knowing (20.0 %")


def test_a_gain_under_one_threat_does_not_hide_losses_under_others():
    others = [replace(PGD, name=f"other{index}") for index in range(3)]
    cases = [(others[0], 0.5, 0.3, 0.01), (others[1], 0.5, 0.3, 0.01), (others[2], 0.5, 0.6, 0.9)]
    (gain,), *_ = sentences((CLEAN, 0.9, 0.9, 1), (PGD, 0.3, 0.5, 0.01), *cases, (KNOWING, 0.1, 0.1, 1))
    assert gain.endswith("; of all 4 oblivious threats it gains under 1, loses under 2, is within noise under 1.")


def test_without_attacks_of_a_kind_nothing_is_concluded():
    gain, _, adaptive = sentences((CLEAN, 0.9, 0.7, 0.01), headline=CLEAN)
    assert gain == ["No oblivious attack was run, so nothing is known about gains under attack."]
    assert adaptive == ["No adaptive attack was run, so nothing is known about attackers who know the method."]


def test_every_eps_of_adaptive_threats_is_mentioned_by_its_worst():
    weak, strong = (Threat(f"eps{eps:g}", "adaptive", {"method": "pgd", "eps": eps}) for eps in (4.0, 24.0))
    other = replace(weak, name="other")
    (worst,) = worst_threats([weak, other])
    cases = [(strong, 0.0, 0.0, 1), (weak, 0.2, 0.3, 0.01), (other, 0.2, 0.3, 0.01), (worst, 0.2, 0.1, 0.01)]
    *_, adaptive = sentences((CLEAN, 0.9, 0.7, 0.01), (PGD, 0.3, 0.5, 0.01), *cases)
    assert adaptive == [
        "AdvPT loses 10.0 points under worst_eps4 (10.0 % instead of 20.0 %, n = 100, p = 0.01), is within noise under "
        "eps24 (0.0 % instead of 0.0 %, n = 100, p = 1).",
        "No adaptive attack of eps 8/255, that of pgd_eps8, was run.",
    ]


def test_of_several_data_sets_effects_are_counted_and_accuracies_averaged():
    """A gain, a loss and noise; the mean of 0.4, 0.2 and 0.3 is 0.3."""
    threats = [CLEAN, PGD, KNOWING]
    studies = [
        study_of(
            *(line_of(one, method, value, p=p) for one in threats for method, value in zip(METHODS, pair, strict=True)),
            title=title, methods=METHODS, threats=threats,
        )
        for title, pair, p in (("a", (0.2, 0.4), 0.01), ("b", (0.4, 0.2), 0.01), ("c", (0.2, 0.3), 0.5))
    ]  # fmt: skip
    classes = pd.concat([CLASSES, CLASSES.assign(dataset="b", gain=0.5)])
    (gain,), (price,), _ = verdict(studies, PGD, classes).values()
    counts = "on average over 3 data sets (a gain on 1, a loss on 1, within noise on 1)"
    assert gain == f"AdvPT reaches 30.0 % instead of 26.7 % under pgd_eps8 {counts}."
    assert price.startswith(
        f"AdvPT reaches 30.0 % instead of 26.7 % {counts}; the class that loses most is “class 0” of "
    )


def test_of_many_methods_the_best_and_the_worst_are_mentioned():
    methods = many_methods(20)
    lines = [
        line_of(threat, method, (0.5 + at / 100) if threat is PGD else 0.9, n=50)
        for threat in (CLEAN, PGD)
        for at, method in enumerate(methods)
    ]
    classes = many(3).assign(method="m1")
    classes = pd.concat([classes.assign(method=method.name) for method in methods])
    gain, *_ = verdict([study_of(*lines, methods=methods, threats=[CLEAN, PGD])], PGD, classes).values()
    assert [sentence.split(" is ")[0].split(" gains ")[0] for sentence in gain] == ["Method 19", "Method 1"]


def test_unequal_sizes_are_pointed_out(results):
    (sentence,) = unequal_sizes(results)
    assert "oblivious: 100 images and 3 tuning seeds, adaptive: 30 images and 1 tuning seed)" in sentence
    assert unequal_sizes(replace(results, threats=results.threats[:2])) == []


def test_closing_line(results):
    assert closing_line(results, ADVPT, [CLEAN, KNOWING]) == (
        "tiny, zero_shot -> advpt: clean 0.900 -> 0.700 (n = 100), knowing 0.100 -> 0.120 (n = 30)"
    )


def test_failed_checks_and_validation_images_are_cautions():
    assert caution(["pass", "warn"], validation=0) == []
    assert caution(["pass", "fail"], validation=0)[0].startswith("1 check of the attacks fails")
    failed, validation = caution(["fail", "fail"], validation=0.25)
    assert failed.startswith("2 checks of the attacks fail (see")
    assert validation.startswith("Evaluated on validation images, 25% of the training images")


@pytest.mark.parametrize("count", [2, 7, 8])
def test_up_to_six_methods_all_are_mentioned(count):
    methods = many_methods(count)
    lines = [line_of(CLEAN, method, 0.9) for method in methods]
    classes = pd.concat([many(3).assign(method=method.name) for method in methods])
    _, price, _ = verdict([study_of(*lines, methods=methods, threats=[CLEAN])], CLEAN, classes).values()
    assert len(price) == (count - 1 if count <= 7 else 2)
