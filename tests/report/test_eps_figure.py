"""Robust accuracy against eps: what stands in a panel, and how attacks are put into panels."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from stages.report.eps_figure import draw, eps_figure, families
from stages.report.vocabulary import CLEAN, Threat
from tests.report.conftest import KNOWING, PGD, PROMPTS

SMALL = Threat("small", "oblivious", {"method": "feature_pgd", "eps": 4.0, "steps": 40})
TRANSFER = Threat("transfer", "oblivious", {"method": "transfer", "eps": 8.0})


def test_attacks_of_one_kind_go_by_eps_and_defended_ones_are_left_out():
    found = families([CLEAN, PGD, replace(PGD, name="behind", defence="jpeg75"), KNOWING, TRANSFER, SMALL])
    assert {kind: [threat.name for threat in family] for kind, family in found.items()} == {
        ("oblivious", "feature pgd"): ["small", "pgd_eps8"],
        ("adaptive", "pgd"): ["knowing"],
        ("oblivious", "transfer"): ["transfer"],
    }
    assert list(found) == [("oblivious", "feature pgd"), ("adaptive", "pgd"), ("oblivious", "transfer")]
    assert families([CLEAN]) == {("clean", "no attack"): []}


def test_lines_begin_at_clean_and_join_the_strongest_attack_of_each_eps(results, line):
    """Two attacks of eps 8: both are marked, the line goes through the lower one."""
    stronger = replace(PGD, name="stronger")
    lines = {("tiny", "stronger", prompt): line(stronger, prompt, 0.2) for prompt in PROMPTS}
    panel = Figure().subplots()
    draw(panel, results | lines, "tiny", [PGD, stronger])
    joined = [drawn.get_xydata().tolist() for drawn in panel.lines if drawn.get_linestyle() != "None"]
    assert joined == [[[0, clean], [8, 0.2]] for clean in (0.9, 0.9, 0.7, 0.85)]
    assert len({(drawn.get_color(), drawn.get_linestyle()) for drawn in panel.lines[::4]}) == 4
    marks = [drawn.get_xydata()[0].tolist() for drawn in panel.lines if drawn.get_linestyle() == "None"]
    assert [mark[1] for mark in marks if mark[0] == 8] == [0.3, 0.2, 0.31, 0.2, 0.5, 0.2, 0.35, 0.2]
    assert panel.get_xlim()[0] == 0 and panel.get_ylim() == (0, 1)


def test_lines_of_a_subset_begin_at_the_clean_accuracy_of_its_images(results):
    panel = Figure().subplots()
    draw(panel, results, "tiny", [KNOWING])
    joined = [drawn.get_xydata().tolist() for drawn in panel.lines if drawn.get_linestyle() != "None"]
    assert [line[0] for line in joined] == [pytest.approx([0, clean]) for clean in (0.75, 0.75, 0.55, 0.7)]
    low, high = panel.collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.5667, 0.8736), abs=2e-2)  # 75 % of 30 images


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_more_than_three_kinds_take_another_line(results, line, count):
    kinds = [Threat(f"kind{index}", "oblivious", {"method": f"method_{index}", "eps": 8.0}) for index in range(count)]
    lines = {("tiny", one.name, prompt): line(one, prompt, 0.4) for one in kinds for prompt in PROMPTS}
    picture = eps_figure(results | lines, ["tiny"], [CLEAN, *kinds])
    assert int.from_bytes(picture[20:24], "big") == round(144 * (2.7 * (1 + (count > 3)) + 0.4))
