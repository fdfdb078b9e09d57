"""Labels beside marks: over no other and over no mark, beside their own, and the same again."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from stages.report.labels import STEPS, Label, Taken, along, costs, covered, place_labels
from tests.report.conftest import collisions

NOTHING = np.empty((0, 2))
SIZE = 6
CROWDED = np.random.default_rng(0).normal(0.5, 0.06, (24, 2))  # in a tenth of a panel


def panel_of(marks, *, dots=NOTHING):
    """A panel from 0 to 1, its marks labelled by their number."""
    figure = Figure((4, 3), layout="constrained")
    panel = figure.subplots()
    panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="across", title="a title")
    figure.draw_without_rendering()
    labels = [Label(str(number), tuple(place), "black") for number, place in enumerate(marks)]
    place_labels(panel, labels, marks=marks, dots=dots, size=SIZE, fontsize=8)
    return panel


def test_no_label_covers_another_or_a_mark_or_leaves_the_panel():
    panel = panel_of(CROWDED)
    assert {note.get_text() for note in panel.texts} == {str(number) for number in range(24)}
    assert collisions(panel, CROWDED, size=SIZE) == (0, 0, 0)


def test_beside_their_marks_the_same_labels_would_collide():
    """The test above can fail: all to the upper right."""
    panel = panel_of(CROWDED)
    for note in panel.texts:
        note.set_position((7, 7))
    pairs, marks, _ = collisions(panel, CROWDED, size=SIZE)
    assert pairs > 5 and marks > 5


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_at_a_corner_a_label_stays_inside(corner):
    mark = np.array([corner], dtype=float)
    assert collisions(panel_of(mark), mark, size=SIZE) == (0, 0, 0)


def test_a_lone_label_stands_beside_its_mark_without_a_line():
    (note,) = panel_of(np.array([[0.5, 0.5]])).texts
    assert np.abs(note.get_position()).max() < 12 and not note.arrow_patch.get_visible()


def test_a_label_with_no_room_stands_apart_and_has_a_line():
    around = [(0.5 + across / 30, 0.5 + up / 30) for across in (-1, 0, 1) for up in (-1, 0, 1)]
    panel = panel_of(np.array(around))
    middle = next(note for note in panel.texts if note.get_text() == "4")
    assert np.abs(middle.get_position()).max() > 12 and middle.arrow_patch.get_visible()
    assert collisions(panel, np.array(around), size=SIZE) == (0, 0, 0)


def test_the_most_crowded_label_chooses_first():
    panel = panel_of(np.array([[0.1, 0.1], [0.7, 0.7], [0.75, 0.7], [0.72, 0.76]]))
    assert panel.texts[-1].get_text() == "0"


def test_a_label_keeps_off_dots_and_curves():
    mark = np.array([[0.5, 0.5]])
    (note,) = panel_of(mark, dots=along(np.array([[0.5, 0.5], [1, 0.5]]))).texts
    assert note.get_position()[1] != 0
    (note,) = panel_of(mark, dots=np.random.default_rng(0).uniform((0.5, 0), (1, 1), (3000, 2))).texts
    assert note.get_position()[0] < 0


@pytest.mark.parametrize(
    ("taken", "gap", "cost"),
    [
        ({}, 5, 2.5),
        ({"solid": (4.9, -1, 6.1, 1)}, 5, 2.5 + 2 * 4),  # two steps of the line
        ({"solid": (12, -1, 13, 1)}, 5, 2.5 + 4),  # near
        ({"solid": (12, -1, 13, 1)}, 1.5, 0.75),  # its own mark is near
        ({"solid": (10.5, -1, 12, 1)}, 5, 2.5 + 4 + 1000),  # covered, therefore near
        ({"joints": (8, -1, 9.5, 1)}, 5, 2.5 + 2 * 4 + 1000),  # covered, and crossed by two steps
        ({"joints": (12, -1, 13, 1)}, 5, 2.5),
        ({"dots": (10.5, 0, 10.5, 0)}, 5, 2.5 + 4),
        ({"dots": (5, 0, 5, 0)}, 5, 2.5),
    ],
)
def test_what_a_place_costs(taken, gap, cost):
    """A label from 9 to 11, a line of 16 steps from 0 to 10."""
    nothing = dict.fromkeys(Taken._fields, np.empty((0, 4)))
    taken = Taken(**nothing | {name: np.array([box]) for name, box in taken.items()})
    lines = np.linspace([[0.0, 0.0]], [[10.0, 0.0]], STEPS, axis=1)
    found = costs(np.array([[10.0, 0.0]]), np.array([2.0, 2.0]), np.array([gap]), lines, taken)
    assert found.tolist() == [cost]


def test_the_same_marks_have_the_same_labels():
    places = [[note.get_position() for note in panel_of(CROWDED).texts] for _ in range(2)]
    assert places[0] == places[1]


def test_boxes_that_touch_do_not_meet():
    box = np.array([[0, 0, 2, 2]])
    others = np.array([[1, 1, 3, 3], [2, 0, 3, 2], [0.5, 0.5, 0.5, 0.5], [1, 5, 2, 6]])
    assert covered(box, others).tolist() == [2] and covered(box, np.empty((0, 4))).tolist() == [0]


def test_places_along_a_curve_hold_its_corners():
    places = along(np.array([[0.0, 0.0], [2.0, 2.0], [2.0, 0.0]]))
    assert {(0, 0), (1, 1), (2, 2), (2, 1), (2, 0)} <= set(map(tuple, places.tolist()))
    assert along(np.array([[3.0, 4.0]])).tolist() == [[3, 4]]
