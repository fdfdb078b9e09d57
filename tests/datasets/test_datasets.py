"""Data sets: the embedded one is what it says, choices do not depend on order, halves of the classes."""

import shutil
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.card import Card
from stages.datasets.embedded import FOLDER, SOURCES, content_of, copy_files, images_of, list_rows, open_rows
from stages.datasets.fewshot import balanced_ranking, choose, few_shot
from stages.datasets.halves import labels_of
from stages.datasets.index import Index, index_of, taking_part
from stages.datasets.listing import Item, Listing

CARD = {
    "name": "d", "class_names": ["a", "b"], "template": "a {}.", "sha256": "0", "origin": "o", "licence": "l",
    "splits": "s", "packed": False, "notes": ["n"],
}  # fmt: skip
IDS = [f"train/{i}" for i in range(40)]
LABELS = np.arange(40) % 4


@pytest.mark.parametrize("name", SOURCES)
def test_an_embedded_cut_is_whole(name, tmp_path):
    SOURCES[name].download(tmp_path)
    listing = SOURCES[name].list_images(tmp_path)
    for items, count in ((listing.train, 2000), (listing.test, 1000)):
        assert len({item.id for item in items}) == len(items) == count
        assert {item.label for item in items} == set(range(10)) and len(listing.class_names) == 10


def test_no_two_parts_of_the_cuts_share_an_image():
    parts = []
    for name in SOURCES:
        folder = FOLDER.with_name(name)
        listing, content = list_rows(folder), content_of(folder)
        parts += [{content(item.id) for item in items} for items in (listing.train, listing.test)]
    assert [len(part) for part in parts] == [2000, 1000, 2000, 1000]
    assert len(set.union(*parts)) == 6000


def test_a_changed_or_missing_file_is_named(tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "fashion")
    copy_files(tmp_path / "raw", folder)
    (folder / "test.parquet").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"test\.parquet: damaged or another file"):
        copy_files(tmp_path / "raw", folder)
    (folder / "train.parquet").unlink()
    with pytest.raises(ValueError, match=r"train\.parquet: missing"):
        copy_files(tmp_path / "raw", folder)


def test_padding_keeps_the_image_in_the_middle():
    grey = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28)
    padded = images_of(grey)
    assert padded.shape == (1, 32, 32, 3)
    assert all(np.array_equal(padded[0, 2:30, 2:30, channel], grey[0]) for channel in range(3))
    assert padded.astype(int).sum() == 3 * grey.astype(int).sum()


def test_a_row_opens_as_its_padded_image():
    content = np.frombuffer(content_of(FOLDER)("test/00007"), np.uint8).reshape(1, 28, 28)
    assert np.array_equal(np.asarray(open_rows(FOLDER)("test/00007")), images_of(content)[0])


@pytest.fixture
def index() -> Index:
    train = [Item(id, int(label)) for id, label in zip(IDS, LABELS, strict=True)]
    test = [Item(f"test/{label}", label) for label in range(4)]
    return index_of(Listing(list("abcd"), train, test, "s"), [bytes([i]) * 32 for i in range(44)])


def test_a_split_keeps_labels_and_digests_beside_their_ids(index):
    part = index.part("train")
    assert sorted(part.ids) == sorted(IDS) and part.ids != sorted(part.ids)
    for id, label, digest in zip(part.ids, part.labels, part.digests, strict=True):
        assert label == LABELS[IDS.index(id)] and digest == bytes([IDS.index(id)]) * 32
    assert sorted(index.part("test").ids) == [f"test/{label}" for label in range(4)]


def test_every_shard_is_a_mixture_of_classes(index):
    order = np.argsort(index.labels[:40], kind="stable")  # as raw folders have it: class after class
    part = index.take(order).part("train")
    assert all(len(set(shard)) > 1 for shard in part.labels.reshape(4, 10).tolist())


def test_the_digest_of_an_index_minds_content_label_and_split_but_not_order(index):
    assert index.take(np.arange(44)[::-1]).sha256 == index.sha256
    changed = [
        Index(index.ids, index.splits, index.labels, [b"x" * 32, *index.digests[1:]]),
        Index(index.ids, index.splits, index.labels[::-1].copy(), index.digests),
        Index(index.ids, ["test", *index.splits[1:]], index.labels, index.digests),
    ]
    assert len({index.sha256, *(other.sha256 for other in changed)}) == 4


def test_shots_count_for_training_and_test_images_for_the_test(index):
    chosen = {"shots": 2, "test_images": 3, "seed": 0}
    assert np.bincount(taking_part(index.part("train"), **chosen).labels).tolist() == [2, 2, 2, 2]
    test = taking_part(index.part("test"), **chosen)
    assert len(test.ids) == 3 and len(set(test.labels.tolist())) == 3
    assert len(taking_part(index.part("train"), shots="all", test_images="all", seed=0).ids) == 40


def test_validation_images_are_training_images_that_are_trained_on_no_more(index):
    """A quarter of each class, the same in whatever order the index comes; no test image takes part."""
    validating = index.validating(0.25)
    train, held = (validating.part(split) for split in ("train", "test"))
    whole = index.part("train")
    assert sorted(train.ids + held.ids) == sorted(whole.ids)
    for label in np.unique(whole.labels):
        assert (held.labels == label).sum() == round(0.25 * (whole.labels == label).sum())
    again = index.take(np.arange(len(index))[::-1]).validating(0.25).part("test")
    assert set(again.ids) == set(held.ids)
    of = dict(zip(index.ids, index.digests, strict=True))
    assert [of[id] for id in held.ids] == held.digests


def test_a_share_that_leaves_a_class_without_images_is_refused(index):
    with pytest.raises(ValueError, match=r"data.validation: 0.0001 of the \d+ training images of class 0 leaves none"):
        index.validating(0.0001)
    with pytest.raises(ValueError, match=r"data.validation: there are no training images"):
        index.part("test").validating(0.25)


@pytest.mark.parametrize(
    ("classes", "base", "new"), [(10, range(5), range(5, 10)), (5, range(3), range(3, 5)), (4, range(2), range(2, 4))]
)
def test_halves_of_the_classes(classes, base, new):
    assert labels_of("base", classes) == base and labels_of("new", classes) == new
    assert labels_of(None, classes) == range(classes)


def test_three_classes_have_no_halves():
    with pytest.raises(ValueError, match="4 are the fewest"):
        labels_of("new", 3)
    with pytest.raises(ValueError, match="'old'; there are: base, new"):
        labels_of("old", 10)


def test_choices_do_not_depend_on_order():
    order = np.random.default_rng(0).permutation(40)
    shuffled = [IDS[i] for i in order]
    for mask, again in (
        (choose(IDS, LABELS, 7, seed=1), choose(shuffled, LABELS[order], 7, seed=1)),
        (few_shot(IDS, LABELS, 2, seed=1), few_shot(shuffled, LABELS[order], 2, seed=1)),
    ):
        assert {IDS[i] for i in np.flatnonzero(mask)} == {shuffled[i] for i in np.flatnonzero(again)}
    assert choose(IDS, LABELS, 7, seed=1).sum() == 7
    assert not np.array_equal(choose(IDS, LABELS, 7, seed=1), choose(IDS, LABELS, 7, seed=2))


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 9), st.data())
def test_a_draw_is_balanced_lies_in_every_larger_one_and_minds_no_order(labels, seed, data):
    labels, ids = np.array(labels), [f"test/{at}" for at in range(len(labels))]
    order = balanced_ranking(ids, labels, seed)
    assert sorted(order) == list(range(len(labels)))
    of_class = np.bincount(labels)
    for count in range(1, len(labels) + 1):
        taken = np.bincount(labels[order[:count]], minlength=len(of_class))
        most = taken.max()  # a class that has fewer than the others has given all
        assert all(some >= most - 1 or some == there for some, there in zip(taken, of_class, strict=True))
    moved = np.array(data.draw(st.permutations(range(len(labels)))))
    again = balanced_ranking([ids[at] for at in moved], labels[moved], seed)
    assert [ids[moved[at]] for at in again] == [ids[at] for at in order]


def test_of_a_class_the_images_follow_their_digests():
    """The first of each class stand in the order of their digests, too."""
    digests = {id: sha256(f"0/draw/{id}".encode()).hexdigest() for id in "abcd"}
    labels = np.array([0, 0, 0, 1])
    order = ["abcd"[at] for at in balanced_ranking(list("abcd"), labels, 0)]
    first, *rest = sorted("abc", key=digests.__getitem__)
    assert order == [*sorted([first, "d"], key=digests.__getitem__), *rest]


def test_fewer_images_of_a_class_than_shots_are_an_error_that_names_it():
    assert few_shot(IDS[:7], LABELS[:7], 1, seed=0).sum() == 4
    with pytest.raises(ValueError, match=r"data\.shots: 2 asked for, .*\{3: 1\}; at most 1, or `all`, is allowed"):
        few_shot(IDS[:7], LABELS[:7], 2, seed=0)


def test_more_test_images_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"data\.test_images: 41 asked for, but there are 40; .*`all`"):
        choose(IDS, LABELS, 41, seed=0)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["one"], "1 class; .* at least 2"), (["sea lion", "sea_lion"], "two classes are called 'sea lion'; rename one")],
    ids=["one class", "equal names"],
)
def test_classes_must_be_distinct(names, message):
    with pytest.raises(ValueError, match=message):
        Card(**{**CARD, "class_names": names})
