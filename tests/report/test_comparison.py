"""When a difference between two methods is a gain, a loss, or noise."""

import pytest

from stages.report.comparison import Comparison, against_baseline, against_reference, is_noise
from tests.report.studies import ADVPT, COOP, KNOWING, PGD, REFRESHED, ZERO_SHOT, line_of, study_of


def compared(accuracy, p, **changes):
    other = line_of(PGD, COOP, 0.3)._replace(std=changes.pop("other_std", float("nan")))
    return Comparison(line_of(PGD, ADVPT, accuracy)._replace(**changes), other, "CoOp", p)


@pytest.mark.parametrize(
    ("accuracy", "p", "effect", "reason"),
    [
        (0.31, 0.049, "gain", "p = 0.049"),
        (0.29, 0.0009, "loss", "p < 0.001"),
        (0.5, 0.05, "noise", "p = 0.05"),
        (0.1, 1.0, "noise", "p = 1"),
    ],
)
def test_a_difference_is_noise_while_other_images_could_turn_it(accuracy, p, effect, reason):
    """The paired test decides, not the intervals: they overlap in the first line, and in the last they do not."""
    found = compared(accuracy, p)
    assert (found.effect, found.reason) == (effect, reason)
    assert found.points == pytest.approx(100 * (accuracy - 0.3))


def test_a_difference_is_noise_while_tuning_again_could_turn_it():
    assert compared(0.5, 0.0001, std=0.09).effect == "gain"
    noise = compared(0.5, 0.0001, std=0.11)
    assert noise.effect == "noise" and noise.reason == "p < 0.001, but less than twice the spread over tuning seeds"
    assert compared(0.5, 0.0001, std=0.08, other_std=0.08).effect == "noise"
    assert compared(0.5, 0.3, std=0.11).reason == "p = 0.3"
    assert noise.meaning == f"within noise of CoOp ({noise.reason})"


def test_each_comparison_has_its_own_p_and_other_method():
    advpt = line_of(PGD, ADVPT, 0.5)._replace(p_reference=0.5, p_baseline=0.001)
    refreshed = line_of(PGD, REFRESHED, 0.4)._replace(p_reference=0.001, p_baseline=0.5)
    study = study_of(line_of(PGD, ZERO_SHOT, 0.3), line_of(PGD, COOP, 0.2), advpt, refreshed)
    zero_shot, coop = study.line(PGD, ZERO_SHOT), study.line(PGD, COOP)
    assert against_reference(study, advpt)[1:] == (zero_shot, "hand-written", 0.5)
    assert against_baseline(study, advpt)[1:] == (coop, "CoOp", 0.001)
    assert against_baseline(study, refreshed)[1:] == (advpt, "AdvPT", 0.5)
    assert against_reference(study, zero_shot) is against_baseline(study, coop) is None


def test_the_reference_is_never_noise(results):
    assert [is_noise(results, line) for line in results.of_threat(PGD)] == [False, True, False, True]
    assert [is_noise(results, line) for line in results.of_threat(KNOWING)] == [False, True, True, False]
