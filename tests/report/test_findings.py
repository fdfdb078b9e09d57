"""What the page says of a gain, a loss, noise, and a gain that an adaptive attacker removes."""

from dataclasses import replace

from stages.report.findings import difference, effect, findings, headline
from stages.report.worst import worst_threats


def test_a_difference_is_noise_while_other_images_could_turn_it(line, threats):
    """The paired test decides, not the intervals: they overlap here, and in the last line they do not."""
    _, pgd, _ = threats
    hand = line(pgd, "hand", 0.3)
    assert difference(line(pgd, "advpt", 0.31, p=0.049), hand) == "a gain of 1.0 points (p = 0.049)"
    assert difference(line(pgd, "advpt", 0.29, p=0.0009), hand) == "a loss of 1.0 points (p < 0.001)"
    assert difference(line(pgd, "advpt", 0.5, p=0.05), hand) == "+20.0 points, within noise (p = 0.05)"
    assert difference(line(pgd, "advpt", 0.1, p=1.0), hand) == "−20.0 points, within noise (p = 1)"


def test_each_comparison_has_its_own_p(line, threats):
    _, pgd, _ = threats
    advpt = line(pgd, "advpt", 0.5)._replace(p_hand=0.5, p_coop=0.001)
    assert effect(advpt, line(pgd, "hand", 0.3)) == "noise"
    assert effect(advpt, line(pgd, "coop", 0.3)) == "gain"
    refreshed = line(pgd, "advpt_refreshed", 0.4)._replace(p_hand=0.5, p_advpt=0.001)
    assert effect(refreshed, line(pgd, "hand", 0.3)) == "noise"
    assert effect(refreshed, advpt) == "loss"


def test_a_difference_is_noise_while_tuning_again_could_turn_it(line, threats):
    _, pgd, _ = threats
    low, high = line(pgd, "coop", 0.3), line(pgd, "advpt", 0.5)
    noise = "+20.0 points, within noise (p < 0.001, but less than twice the spread over tuning seeds)"
    assert difference(high._replace(std=0.09), low) == "a gain of 20.0 points (p < 0.001)"
    assert difference(high._replace(std=0.11), low) == noise
    assert difference(high._replace(std=0.08), low._replace(std=0.08)) == noise
    assert difference(high._replace(std=0.11, p_coop=0.3), low) == "+20.0 points, within noise (p = 0.3)"


def test_a_gain_that_the_adaptive_attacker_removes_is_shown_as_that(results, threats):
    clean, oblivious, adaptive, sizes = findings(results, "tiny", threats)
    assert clean == "clean: AdvPT 70.0 %, hand-written 90.0 % (n = 100): a loss of 20.0 points (p < 0.001)."
    assert "a gain of 20.0 points" in oblivious
    assert "knowing): AdvPT 12.0 %, hand-written 10.0 % (n = 30)" in oblivious
    assert "no gain is left that could be told from noise" in oblivious
    assert "within noise" in adaptive and "is left" not in adaptive
    assert "oblivious: 100 images and 3 tuning seeds, adaptive: 30 images and 1 tuning seed)" in sizes


def test_what_the_adaptive_attacker_leaves(results, threats, line):
    def said(accuracy):
        changed = results | {("tiny", "knowing", "advpt"): line(threats[2], "advpt", accuracy)}
        return findings(changed, "tiny", threats)[1]

    assert "knows the prompt, a gain is left" in said(0.3)
    assert "turns into a loss" in said(-0.3)


def test_a_gain_is_held_against_the_worst_of_several_adaptive_threats(results, threats, line):
    """Under the first adaptive threat nothing was left, under the worst of two there is a loss."""
    family = [*threats, replace(threats[2], name="other")]
    (worst,) = worst_threats(family)
    lines = {
        ("tiny", threat.name, prompt): line(threat, prompt, accuracy)
        for threat in (family[3], worst)
        for prompt, accuracy in (("hand", 0.4), ("coop", 0.4), ("advpt", 0.2))
    }
    oblivious = findings(results | lines, "tiny", [*family, worst])[1]
    assert "(worst_eps8): AdvPT 20.0 %" in oblivious and "turns into a loss" in oblivious


def test_a_gain_through_a_defence_asks_for_an_attack_through_it(results, threats):
    defended = replace(threats[1], name="pgd_eps8+jpeg75", defence="jpeg75")
    copies = {("tiny", defended.name, prompt): results["tiny", "pgd_eps8", prompt] for prompt in ("hand", "advpt")}
    knowing = replace(threats[2], defence="jpeg75")
    assert "of this eps through jpeg75 was run" in findings(results | copies, "tiny", [*threats, defended])[3]
    assert "(knowing): AdvPT 12.0 %" in findings(results | copies, "tiny", [defended, knowing])[0]


def test_an_oblivious_gain_alone_proves_nothing(results, threats):
    oblivious = findings(results, "tiny", threats[:2])[1]
    assert "No adaptive threat of this eps was run" in oblivious


def test_headline(results, threats):
    assert headline(results, "tiny", threats[::2]) == (
        "tiny hand -> advpt: clean 0.900 -> 0.700 (n = 100), knowing 0.100 -> 0.120 (n = 30)"
    )
