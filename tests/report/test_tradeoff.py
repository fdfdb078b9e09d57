"""Clean against robust accuracy: where the marks stand, and that names do not lie on each other."""

import pytest
from matplotlib.figure import Figure

from stages.report.tradeoff_figure import draw, spread, tradeoff_figure
from stages.report.vocabulary import CLEAN, Threat
from tests.report.conftest import KNOWING, PGD, PROMPTS


def test_a_mark_stands_at_clean_and_robust_accuracy(results):
    panel = Figure().subplots()
    draw(panel, results, "tiny", [PGD])
    joined, *marks = panel.lines
    assert joined.get_xydata().tolist() == [[0.7, 0.5], [0.85, 0.35], [0.9, 0.3], [0.9, 0.31]]
    assert [mark.get_xydata()[0].tolist() for mark in marks] == [[0.9, 0.3], [0.9, 0.31], [0.7, 0.5], [0.85, 0.35]]
    assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, True, False, True]
    assert panel.get_xlim() == panel.get_ylim() == (0, 1)
    spans = [interval.get_segments()[0].tolist() for interval in panel.collections[:2]]
    assert spans == [  # the interval of 90 % of 100 images
        [pytest.approx([0.8256, 0.3], abs=1e-4), pytest.approx([0.9448, 0.3], abs=1e-4)],
        [[0.9, 0.25], pytest.approx([0.9, 0.35])],
    ]


def test_a_subset_stands_at_the_clean_accuracy_of_its_own_images(results):
    panel = Figure().subplots()
    draw(panel, results, "tiny", [KNOWING])
    found = [mark.get_xydata()[0].tolist() for mark in panel.lines[1:]]
    assert found == [pytest.approx(at) for at in ([0.75, 0.1], [0.75, 0.1], [0.55, 0.12], [0.7, 0.2])]


def test_behind_a_defence_clean_images_go_through_it_too(results, line):
    defended = Threat("pgd_eps8+jpeg75", "oblivious", PGD.attack, "jpeg75")
    through = Threat("clean+jpeg75", "clean", {}, "jpeg75")
    lines = {("tiny", one.name, prompt): line(one, prompt, 0.4) for one in (defended, through) for prompt in PROMPTS}
    panel = Figure().subplots()
    draw(panel, results | lines, "tiny", [defended])
    assert {mark.get_xdata()[0] for mark in panel.lines} == {0.4}


def test_names_keep_apart_in_their_order():
    assert spread({"b": 0.5, "a": 0.49, "c": 0.9}) == {"a": 0.49, "b": pytest.approx(0.54), "c": 0.9}
    assert spread({"a": 0.0}) == {"a": 0.02}
    assert spread({"a": 0.97, "b": 0.99, "c": 1.0}) == pytest.approx({"a": 0.88, "b": 0.93, "c": 0.98})


@pytest.mark.parametrize("threats", [[CLEAN, PGD, KNOWING], [CLEAN, KNOWING], [CLEAN]], ids=len)
def test_a_figure_has_a_panel_for_each_kind_of_attacker(results, threats):
    picture = tradeoff_figure(results, ["tiny"], threats)
    assert picture == tradeoff_figure(results, ["tiny"], threats) and picture.startswith(b"\x89PNG")
