"""The four sentences of the verdict, on numbers made by hand, in every case that they can be in."""

from dataclasses import replace

import pytest

from stages.report.verdict import caution, verdict
from stages.report.vocabulary import CLEAN, Threat
from stages.report.worst import worst_threat
from tests.report.conftest import KNOWING, PGD
from tests.report.test_classes import many

CLASSES = many(3)  # AdvPT loses half of class 0, the refreshed prompt nothing
LOST = "; by class it loses most on “class 0”: 0.0 % instead of 50.0 % (n = 50)."


@pytest.fixture
def said(line):
    """The first three sentences on accuracies (threat, hand, advpt, p) of one data set."""

    def say(*cases, shown=PGD):
        results = {
            ("tiny", threat.name, prompt): line(threat, prompt, accuracy, p=p)
            for threat, hand, advpt, p in cases
            for prompt, accuracy in (("hand", hand), ("advpt", advpt), ("advpt_refreshed", 0.0))
        }
        return verdict(results, ["tiny"], [threat for threat, *_ in cases], shown, refreshed_eps=4, classes=CLASSES)[:3]

    return say


@pytest.fixture
def said_of_rounds(line):
    """The last sentence on accuracies (threat, hand, refreshed, p) of one data set."""

    def say(*cases, eps=8.0):
        results = {
            ("tiny", threat.name, prompt): line(threat, prompt, accuracy, p=p)
            for threat, hand, refreshed, p in cases
            for prompt, accuracy in (("hand", hand), ("advpt", 0.0), ("advpt_refreshed", refreshed))
        }
        *_, last = verdict(
            results, ["tiny"], [threat for threat, *_ in cases], CLEAN, refreshed_eps=eps, classes=CLASSES
        )
        return last

    return say


def test_a_gain_that_costs_and_that_a_knowing_attacker_removes(said):
    gain, cost, left = said((CLEAN, 0.9, 0.7, 0.0001), (PGD, 0.3, 0.5, 0.0001), (KNOWING, 0.1, 0.12, 0.3))
    assert gain == (
        "Under the paper's attack at eps 8/255, made without the prompts (pgd_eps8), AdvPT gains 20.0 points: 50.0 % "
        "instead of 30.0 % (n = 100, p < 0.001)."
    )
    assert cost == "On clean images it costs 20.0 points: 70.0 % instead of 90.0 % (n = 100, p < 0.001)" + LOST
    assert left == (
        "Under an attacker at eps 8/255 who knows the prompt (knowing), there is no gain that could be told from "
        "noise: 12.0 % instead of 10.0 % (n = 100, p = 0.3)."
    )


def test_no_gain_is_said_to_be_none(said):
    gain, cost, left = said((CLEAN, 0.9, 0.89, 0.6), (PGD, 0.3, 0.31, 0.6), (KNOWING, 0.1, 0.2, 0.001))
    assert "AdvPT gains nothing that could be told from noise: 31.0 % instead of 30.0 % (n = 100, p = 0.6)" in gain
    assert cost.startswith("On clean images it costs nothing that could be told from noise: 89.0 % instead of 90.0 %")
    assert "who knows the prompt (knowing), AdvPT gains 10.0 points" in left


def test_losses_are_said_to_be_losses(said):
    gain, cost, left = said((CLEAN, 0.8, 0.9, 0.01), (PGD, 0.5, 0.3, 0.01), (KNOWING, 0.2, 0.1, 0.01))
    assert "AdvPT loses 20.0 points: 30.0 % instead of 50.0 %" in gain
    assert "On clean images it gains 10.0 points: 90.0 %" in cost
    assert "AdvPT loses 10.0 points: 10.0 %" in left


def test_a_gain_under_one_threat_does_not_hide_losses_under_others(said):
    others = [replace(PGD, name=f"other{index}") for index in range(3)]
    cases = [(others[0], 0.5, 0.3, 0.01), (others[1], 0.5, 0.3, 0.01), (others[2], 0.5, 0.6, 0.9)]
    gain, _, left = said((CLEAN, 0.9, 0.9, 1), (PGD, 0.3, 0.5, 0.01), *cases, (KNOWING, 0.1, 0.1, 1))
    assert gain.endswith("; of all 4 oblivious threats it gains under 1, loses under 2, is within noise under 1.")
    assert "of all" not in left


def test_without_an_adaptive_threat_nothing_is_said_to_be_left(said):
    *_, left = said((CLEAN, 0.9, 0.7, 0.01), (PGD, 0.3, 0.5, 0.01))
    assert left == "No adaptive attack was run, so nothing says what an attacker who knows the prompt leaves."
    through = replace(KNOWING, defence="jpeg75")
    assert said((CLEAN, 0.9, 0.7, 0.01), (PGD, 0.3, 0.5, 0.01), (through, 0.1, 0.9, 0.01))[2] == left


def test_an_adaptive_threat_of_another_eps_is_said_to_be_that(said):
    weak, strong = (Threat(f"eps{eps:g}", "adaptive", {"method": "pgd", "eps": eps}) for eps in (4.0, 24.0))
    *_, left = said((CLEAN, 0.9, 0.7, 0.01), (PGD, 0.3, 0.5, 0.01), (strong, 0.0, 0.0, 1), (weak, 0.2, 0.3, 0.01))
    assert left == (
        "Under an attacker at eps 4/255 who knows the prompt (eps4), AdvPT gains 10.0 points: 30.0 % instead of 20.0 % "
        "(n = 100, p = 0.01); at eps 8/255 none was tried; of all 2 adaptive threats it gains under 1, is within noise "
        "under 1."
    )


def test_the_worst_of_several_adaptive_threats_speaks_for_them(said):
    other, worst = replace(KNOWING, name="other"), worst_threat(8.0, "none", ["knowing", "other"])
    cases = [(KNOWING, 0.2, 0.3, 0.01), (other, 0.2, 0.3, 0.01), (worst, 0.2, 0.1, 0.01)]
    *_, left = said((CLEAN, 0.9, 0.7, 0.01), (PGD, 0.3, 0.5, 0.01), *cases)
    assert "(worst_eps8), AdvPT loses 10.0 points" in left
    assert left.endswith("of all 2 adaptive threats it gains under 2.")


def test_without_an_oblivious_threat(said):
    gain, _, left = said((CLEAN, 0.9, 0.7, 0.01), (KNOWING, 0.1, 0.2, 0.3), shown=CLEAN)
    assert gain == "No attack that does not know the prompts was run, so nothing says what AdvPT gains under one."
    assert left.startswith("Under an attacker at eps 8/255 who knows the prompt (knowing), there is no gain")
    assert "none was tried" not in left


def test_another_attack_is_not_called_the_papers(said):
    transfer = Threat("transfer_eps8", "oblivious", {"method": "transfer", "eps": 8.0})
    gain, *_ = said((CLEAN, 0.9, 0.9, 1), (transfer, 0.5, 0.6, 0.01), shown=transfer)
    assert gain.startswith("Under an attack at eps 8/255, made without the prompts (transfer_eps8), AdvPT gains")


def test_of_several_data_sets_effects_are_counted_and_accuracies_averaged(line):
    """A gain, a loss and noise; the mean of 0.4, 0.2 and 0.3 is 0.3. The refreshed prompt is as good as AdvPT."""
    lines = {"a": (0.2, 0.4, 0.01), "b": (0.4, 0.2, 0.01), "c": (0.2, 0.3, 0.5)}
    results = {
        (dataset, threat.name, prompt): line(threat, prompt, accuracy, p=p)
        for dataset, (hand, advpt, p) in lines.items()
        for threat in (CLEAN, PGD, KNOWING)
        for prompt, accuracy in (("hand", hand), ("advpt", advpt), ("advpt_refreshed", advpt))
    }
    gain, cost, left, rounds = verdict(
        results, list(lines), [CLEAN, PGD, KNOWING], PGD, refreshed_eps=8, classes=CLASSES
    )
    counts = "a gain on 1, a loss on 1, within noise on 1"
    both = f"AdvPT reaches 30.0 % instead of 26.7 % on average over 3 data sets ({counts})"
    assert gain == f"Under the paper's attack at eps 8/255, made without the prompts (pgd_eps8), {both}."
    assert cost == f"On clean images {both}" + LOST
    assert left == f"Under an attacker at eps 8/255 who knows the prompt (knowing), {both}."
    both = both.replace("AdvPT", "AdvPT refreshed")
    assert rounds == (
        f"With a bank crafted through the prompts themselves, at eps 8/255 (knowing), {both}; on clean images {both}"
        "; by class it loses on no class."
    )


def test_what_rounds_gain_and_cost(said_of_rounds):
    assert said_of_rounds((CLEAN, 0.9, 0.8, 0.01), (KNOWING, 0.1, 0.3, 0.001)) == (
        "With a bank crafted through the prompts themselves, at eps 8/255 (knowing), AdvPT refreshed gains 20.0 "
        "points: 30.0 % instead of 10.0 % (n = 100, p = 0.001); on clean images it costs 10.0 points: 80.0 % instead "
        "of 90.0 % (n = 100, p = 0.01); by class it loses on no class."
    )


def test_rounds_that_lose_under_attack_and_gain_on_clean_images(said_of_rounds):
    told = said_of_rounds((CLEAN, 0.8, 0.9, 0.01), (KNOWING, 0.3, 0.1, 0.001))
    assert "(knowing), AdvPT refreshed loses 20.0 points: 10.0 % instead of 30.0 %" in told
    assert "; on clean images it gains 10.0 points: 90.0 % instead of 80.0 %" in told


def test_rounds_that_change_nothing(said_of_rounds):
    told = said_of_rounds((CLEAN, 0.9, 0.8, 0.2), (KNOWING, 0.1, 0.3, 0.3))
    assert "(knowing), there is no gain that could be told from noise: 30.0 % instead of 10.0 %" in told
    assert "; on clean images it costs nothing that could be told from noise: 80.0 % instead of 90.0 %" in told


def test_without_an_adaptive_threat_nothing_is_said_of_rounds(said_of_rounds):
    none = "No adaptive attack was run, so nothing says what a bank crafted through the prompts gains."
    cases = [(CLEAN, 0.9, 0.8, 0.01), (PGD, 0.3, 0.5, 0.01)]
    assert said_of_rounds(*cases) == none
    assert said_of_rounds(*cases, (replace(KNOWING, defence="jpeg75"), 0.1, 0.9, 0.01)) == none


@pytest.mark.parametrize(("eps", "name"), [(1.0, "eps2"), (4.0, "eps4"), (5.0, "eps4"), (16.0, "worst_eps8")])
def test_rounds_meet_the_adaptive_threat_nearest_to_their_eps(said_of_rounds, eps, name):
    """Of several of one eps the worst, which stands last; no oblivious one, though PGD has the eps, too."""
    threats = [Threat(f"eps{one:g}", "adaptive", {"method": "pgd", "eps": one}) for one in (2.0, 8.0, 4.0)]
    threats += [PGD, worst_threat(8.0, "none", ["eps8", "other"])]
    told = said_of_rounds((CLEAN, 0.9, 0.8, 0.01), *((threat, 0.1, 0.3, 0.01) for threat in threats), eps=eps)
    assert f"({name}), AdvPT refreshed" in told


def test_a_failed_check_of_the_attacks_is_a_caution():
    assert caution(["pass", "warn"], validation=0) == []
    assert caution(["pass", "fail"], validation=0)[0].startswith("1 check of the attacks fails")
    assert caution(["fail", "fail"], validation=0)[0].startswith("2 checks of the attacks fail (see")


def test_validation_images_are_a_caution():
    (said,) = caution(["pass"], validation=0.25)
    assert said.startswith("Judged on validation images, 25% of the training images")
    (both,) = caution(["fail"], validation=0.25)
    assert both == f"{caution(['fail'], validation=0)[0]} {said}"
