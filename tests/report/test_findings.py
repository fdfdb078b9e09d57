"""What the page says of a gain, a loss, noise, and a gain that an adaptive attacker removes."""

from stages.report.findings import difference, findings, headline


def test_a_difference_is_noise_while_the_intervals_overlap(line, threats):
    _, pgd, _ = threats
    low = line(pgd, "hand", 0.3)
    assert difference(line(pgd, "advpt", 0.41), low) == "a gain of 11.0 points"
    assert difference(low, line(pgd, "advpt", 0.41)) == "a loss of 11.0 points"
    assert difference(line(pgd, "advpt", 0.39), low) == "+9.0 points, within noise"
    assert difference(low, line(pgd, "advpt", 0.39)).startswith("−9.0 points, within noise")


def test_a_difference_is_noise_while_tuning_again_could_turn_it(line, threats):
    _, pgd, _ = threats
    low, high = line(pgd, "hand", 0.3), line(pgd, "advpt", 0.5)
    assert difference(high._replace(std=0.09), low) == "a gain of 20.0 points"
    assert difference(high._replace(std=0.11), low) == "+20.0 points, within noise"
    assert difference(high._replace(std=0.08), low._replace(std=0.08)) == "+20.0 points, within noise"


def test_a_gain_that_the_adaptive_attacker_removes_is_shown_as_that(results, threats):
    clean, oblivious, adaptive, sizes = findings(results, "tiny", threats)
    assert clean == "clean: AdvPT 70.0 %, hand-written 90.0 % (n = 100): a loss of 20.0 points."
    assert "a gain of 20.0 points" in oblivious
    assert "knowing): AdvPT 12.0 %, hand-written 10.0 % (n = 30)" in oblivious
    assert "the gain is gone" in oblivious
    assert "within noise" in adaptive and "gone" not in adaptive
    assert "oblivious: 100 images and 3 tuning seeds, adaptive: 30 images and 1 tuning seed)" in sizes


def test_what_the_adaptive_attacker_leaves(results, threats, line):
    def said(accuracy):
        changed = results | {("tiny", "knowing", "advpt"): line(threats[2], "advpt", accuracy)}
        return findings(changed, "tiny", threats)[1]

    assert "a gain is left" in said(0.3)
    assert "turns into a loss" in said(-0.3)


def test_an_oblivious_gain_alone_proves_nothing(results, threats):
    oblivious = findings(results, "tiny", threats[:2])[1]
    assert "No adaptive threat of this eps was run" in oblivious


def test_headline(results, threats):
    assert headline(results, "tiny", threats[::2]) == (
        "tiny hand -> advpt: clean 0.900 -> 0.700 (n = 100), knowing 0.100 -> 0.120 (n = 30)"
    )
