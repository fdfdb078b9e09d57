"""Checks of a list of images, on lists written by hand."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.datasets.checks import check_listing

CLEAN = [(f"{split}/{label}", split, label, f"{split}{label}") for split in ("train", "test") for label in range(4)]


def check(rows, *, classes=4, overlap_limit=0.0, strict=True):
    ids, splits, labels, contents = zip(*rows, strict=True)
    digests = [content.encode().ljust(32, b".") for content in contents]
    labels = np.array(labels, np.int64)
    return check_listing(ids, splits, labels, digests, classes=classes, overlap_limit=overlap_limit, strict=strict)


def test_nothing_is_said_of_a_clean_list():
    assert check(CLEAN) == []


def test_a_data_set_without_training_images_is_fine():
    assert check(CLEAN[4:]) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [*CLEAN, ("test/again", "test", 2, "train2")],
            r"1 of 5 test images are training images too, such as test/again \(= train/2\); "
            r"fetch.overlap_limit allows a share of 0:",
        ),
        (
            [*CLEAN, ("train/other", "train", 3, "train1")],
            r"train/1 and train/other are the same image under two classes; .*1 such images in all",
        ),
        ([*CLEAN, ("test/x", "test", 4, "x")], "test/x: label 4; allowed are 0 to 3"),
        ([*CLEAN, ("test/x", "test", -1, "x")], "test/x: label -1; allowed are 0 to 3"),
        ([*CLEAN[:1], *CLEAN[2:]], r"1 of 4 classes have no training image \(labels 1\)"),
    ],
    ids=["overlap", "two classes", "too large", "negative", "missing from train"],
)
def test_an_error_names_an_example_and_what_is_allowed(rows, message):
    with pytest.raises(ValueError, match=message):
        check(rows)


def test_the_share_of_the_test_images_counts_and_the_limit_itself_is_allowed():
    rows = [*CLEAN, ("test/again", "test", 2, "train2")]  # 1 of 5 test images, though 1 of 9 images
    assert check(rows, overlap_limit=0.2) == ["1 of 5 test images are training images too"]
    with pytest.raises(ValueError, match=r"allows a share of 0\.19"):
        check(rows, overlap_limit=0.19)


def test_a_training_image_that_is_there_twice_is_no_overlap():
    assert check([*CLEAN, ("train/again", "train", 2, "train2"), ("test/again", "test", 2, "test2")]) == []


def test_published_data_sets_are_only_noted():
    rows = [
        *CLEAN,
        *((f"train/x{label}", "train", label, "train1") for label in (0, 2, 3)),
        ("test/y", "test", 0, "test1"),
    ]
    assert check(rows, strict=False) == ["images that lie under more than one class: 2"]


@pytest.mark.parametrize(("classes", "notes"), [(2, 1), (3, 1), (4, 0)], ids=str)
def test_fewer_than_4_classes_are_noted(classes, notes):
    rows = [row for row in CLEAN if row[2] < classes]
    said = [f"{classes} classes: attacks on the targeted DLR loss need 4 and are left out"]
    assert check(rows, classes=classes) == said * notes


def test_digests_may_be_hexadecimal_and_end_in_zeros():
    ids, splits, labels = ["a", "b", "c"], ["train", "train", "test"], np.array([0, 1, 0])
    digests = [bytes(32), bytes(31) + b"\1", b"\1" + bytes(31)]
    options = {"classes": 2, "overlap_limit": 0.0, "strict": True}
    for form in (digests, [digest.hex() for digest in digests]):
        assert len(check_listing(ids, splits, labels, form, **options)) == 1  # that there are few classes


@given(
    rows=st.lists(st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 3), st.integers(0, 5)), max_size=20),
    order=st.randoms(use_true_random=False),
)
def test_counts_equal_those_of_a_plain_loop_in_any_order(rows, order):
    rows = CLEAN + [(f"{index}", split, label, f"{content}") for index, (split, label, content) in enumerate(rows)]
    order.shuffle(rows)
    train = {content for _, split, _, content in rows if split == "train"}
    shared = sum(split == "test" and content in train for _, split, _, content in rows)
    labels = {}
    for _, _, label, content in rows:
        labels.setdefault(content, set()).add(label)
    several = sum(len(found) > 1 for found in labels.values())
    said = check(rows, overlap_limit=1.0, strict=False)
    tests = sum(split == "test" for _, split, _, _ in rows)
    expected = [f"{shared} of {tests} test images are training images too"] * (shared > 0)
    assert said == expected + [f"images that lie under more than one class: {several}"] * (several > 0)


def test_a_large_data_set_takes_seconds():
    count = 300_000
    generator = np.random.default_rng(0)
    digests = [row.tobytes() for row in generator.integers(0, 256, (count, 32), np.uint8)]
    digests[-1] = digests[0]
    ids, splits = [str(index) for index in range(count)], ["train"] * (count - 50_000) + ["test"] * 50_000
    labels = np.arange(count) % 1000
    start = time.perf_counter()
    notes = check_listing(ids, splits, labels, digests, classes=1000, overlap_limit=0.01, strict=False)
    assert time.perf_counter() - start < 15  # half a second on one core
    assert notes == ["1 of 50000 test images are training images too", "images that lie under more than one class: 1"]
