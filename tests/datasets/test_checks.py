"""Checks of a list of images, on lists written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.datasets.checks import check_index
from stages.datasets.index import Index

CLEAN = [(f"{split}/{label}", split, label, f"{split}{label}") for split in ("train", "test") for label in range(4)]
AGAIN = ("test/again", "test", 2, "train2")  # a training image among those of the test


def check(rows, *, classes=4, overlap_limit=0.0, own=True):
    ids, splits, labels, contents = map(list, zip(*rows, strict=True))
    digests = [content.encode().ljust(32, b"\0") for content in contents]
    index = Index(ids, splits, np.array(labels, np.int64), digests)
    return check_index(index, classes=classes, overlap_limit=overlap_limit, own=own)


@pytest.mark.parametrize(
    "rows",
    [CLEAN, CLEAN[4:], [*CLEAN, ("train/again", "train", 2, "train2"), ("test/again", "test", 2, "test2")]],
    ids=["clean", "no training images", "doubles inside a split"],
)
def test_nothing_is_said_of_what_is_fine(rows):
    assert check(rows) == []


@pytest.mark.parametrize(
    ("own", "rows", "message"),
    [
        (
            True,
            [*CLEAN, AGAIN],
            r"1 of 5 test images are training images too; .*allows a share of 0: .*\n  test/again = train/2$",
        ),
        (
            True,
            [*CLEAN, ("train/other", "train", 3, "train1")],
            r"images that lie under more than one class: 1; one class is allowed: .*\n  train/other = train/1$",
        ),
        (False, [*CLEAN, ("test/x", "test", 4, "x")], "test/x: label 4; allowed are 0 to 3"),
        (False, [*CLEAN, ("test/x", "test", -1, "x")], "test/x: label -1; allowed are 0 to 3"),
        (False, [*CLEAN[:1], *CLEAN[2:]], r"1 of 4 classes have no training image \(labels 1\)"),
    ],
    ids=["overlap", "two classes", "too large", "negative", "missing from train"],
)
def test_an_error_names_the_images_and_what_is_allowed(own, rows, message):
    with pytest.raises(ValueError, match=message):
        check(rows, own=own)


def test_one_error_names_all_doubles_in_whatever_way_they_are_wrong():
    others = [("train/x", "train", 0, "train3"), ("train/y", "train", 3, "test1"), ("test/z", "test", 2, "train2")]
    with pytest.raises(ValueError, match="training images too; ") as caught:
        check([*CLEAN, *others])
    pairs = [line.strip() for line in str(caught.value).split("\n") if line.startswith("  ")]
    assert sorted(pairs) == ["test/1 = train/y", "test/z = train/2", "train/x = train/3", "train/y = test/1"]


def test_a_long_list_of_doubles_is_cut():
    others = [(f"train/{index}/again", "train", 3, f"train{index % 3}") for index in range(25)]
    with pytest.raises(ValueError, match=r"more than one class: 3; (.|\n)*  train/19/again = train/1\n  and 5 more$"):
        check([*CLEAN, *others])


def test_the_share_of_the_test_images_counts_and_the_limit_itself_is_allowed():
    assert check([*CLEAN, AGAIN], overlap_limit=0.2) == ["1 of 5 test images are training images too"]  # of 9 in all
    with pytest.raises(ValueError, match=r"allows a share of 0\.19"):
        check([*CLEAN, AGAIN], overlap_limit=0.19)


@pytest.mark.parametrize(("classes", "notes"), [(2, 1), (3, 1), (4, 0)], ids=str)
def test_fewer_than_4_classes_are_noted(classes, notes):
    rows = [row for row in CLEAN if row[2] < classes]
    note = f"{classes} classes: attacks on the targeted DLR loss need 4 and are left out"
    assert check(rows, classes=classes) == [note] * notes


@given(
    rows=st.lists(st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 3), st.integers(0, 5)), max_size=20),
    order=st.randoms(use_true_random=False),
)
def test_published_data_sets_are_only_noted_with_the_counts_of_a_plain_loop(rows, order):
    rows = CLEAN + [(f"{index}", split, label, f"{content}") for index, (split, label, content) in enumerate(rows)]
    order.shuffle(rows)
    train = {content for _, split, _, content in rows if split == "train"}
    shared = sum(split == "test" and content in train for _, split, _, content in rows)
    labels = {}
    for _, _, label, content in rows:
        labels.setdefault(content, set()).add(label)
    several = sum(len(found) > 1 for found in labels.values())
    tests = sum(split == "test" for _, split, _, _ in rows)
    expected = [f"{shared} of {tests} test images are training images too"] * (shared > 0)
    expected += [f"images that lie under more than one class: {several}"] * (several > 0)
    assert check(rows, overlap_limit=1.0, own=False) == expected
