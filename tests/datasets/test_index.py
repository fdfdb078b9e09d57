"""The index: parts, shards and draws that follow digests and no order; the card and the halves of the classes."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.index import Index, index_of, taking_part
from stages.datasets.listing import Item, Listing
from stages.evaluation.study import study_labels
from stages.storage.card import Card, read_card, write_card
from stages.storage.layout import card_file
from stages.storage.ranking import balanced_ranking

IDS = [f"train/{i}" for i in range(40)]
LABELS = np.arange(40) % 4


@pytest.fixture
def index() -> Index:
    train = [Item(id, int(label)) for id, label in zip(IDS, LABELS, strict=True)]
    test = [Item(f"test/{label}", label) for label in range(4)]
    return index_of(Listing(list("abcd"), train, test, "s"), [bytes([i]) * 32 for i in range(44)])


def test_a_split_keeps_labels_and_digests_beside_their_ids_and_mixes_classes(index):
    order = np.argsort(index.labels[:40], kind="stable")  # as raw folders have it: class after class
    part = index.take(order).part("train")
    assert sorted(part.ids) == sorted(IDS) and part.ids == index.part("train").ids
    for id, label, digest in zip(part.ids, part.labels, part.digests, strict=True):
        assert label == LABELS[IDS.index(id)] and digest == bytes([IDS.index(id)]) * 32
    assert all(len(set(shard)) > 1 for shard in part.labels.reshape(4, 10).tolist())


def test_the_digest_of_an_index_minds_content_label_and_split_but_not_order(index):
    assert index.take(np.arange(44)[::-1]).sha256 == index.sha256
    changed = [
        Index(index.ids, index.splits, index.labels, [b"x" * 32, *index.digests[1:]]),
        Index(index.ids, index.splits, index.labels[::-1].copy(), index.digests),
        Index(index.ids, ["test", *index.splits[1:]], index.labels, index.digests),
    ]
    assert len({index.sha256, *(other.sha256 for other in changed)}) == 4


@pytest.mark.parametrize(("count", "rows", "shards"), [(2000, 1000, 2), (1000, 1000, 1), (60, 5, None), (7, 1, None)])
def test_shards_follow_the_order_and_an_image_less_touches_one(count, rows, shards):
    ids = [f"test/{number}" for number in range(count)]
    index = Index(ids, ["test"] * count, np.arange(count), [bytes(32)] * count).part("test")
    cut = index.shards(rows)
    assert shards in (None, len(cut)) and all(map(len, cut))  # of shards that would be empty there are none
    assert [id for shard in cut for id in shard.ids] == index.ids
    assert max(map(len, cut)) < 1.1 * rows or rows < 100
    fewer = index.take(np.arange(count) != count // 2)
    before, after = ({shard.sha256 for shard in one.shards(rows)} for one in (index, fewer))
    assert len(before - after) == 1 or rows == 1  # where a shard less is asked for, all cuts move


def test_shots_count_for_training_and_test_images_for_the_test_in_any_order(index):
    backwards = index.take(np.arange(44)[::-1])
    for split, shots in (("train", 2), ("test", "all")):
        parts = [taking_part(one.part(split), shots=shots, test_images=3, seed=1) for one in (index, backwards)]
        assert parts[0].ids == parts[1].ids
        assert np.bincount(parts[0].labels).tolist() == [2, 2, 2, 2] or (split, len(set(parts[0].labels))) == (
            "test",
            3,
        )
        other = taking_part(index.part(split), shots=shots, test_images=3, seed=2)
        assert parts[0].ids != other.ids
        assert taking_part(index.part(split), shots="all", test_images="all", seed=0).ids == index.part(split).ids


def test_more_images_than_there_are_is_an_error(index):
    with pytest.raises(ValueError, match=r"data\.test_images: 5 asked for, but there are 4; .*`all`"):
        taking_part(index.part("test"), shots=1, test_images=5, seed=0)
    few = index.take(np.arange(44) < 7)
    with pytest.raises(ValueError, match=r"data\.shots: 2 asked for, .*\{3: 1\}; at most 1, or `all`, is allowed"):
        taking_part(few, shots=2, test_images=5, seed=0)


def test_validation_images_are_training_images_that_are_trained_on_no_more(index):
    """A quarter of each class, the same in whatever order the index comes; no test image takes part."""
    validating = index.validating(0.25)
    train, held = (validating.part(split) for split in ("train", "test"))
    assert sorted(train.ids + held.ids) == sorted(IDS)
    assert np.bincount(held.labels).tolist() == [2, 2, 2, 2]  # of ten; Python rounds halves to even numbers
    again = index.take(np.arange(len(index))[::-1]).validating(0.25).part("test")
    assert again.ids == held.ids
    with pytest.raises(ValueError, match=r"data.validation: 0.0001 of the 10 training images of class 0 leaves none"):
        index.validating(0.0001)
    with pytest.raises(ValueError, match=r"data.validation: there are no training images"):
        index.part("test").validating(0.25)


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
    order = ["abcd"[at] for at in balanced_ranking(list("abcd"), np.array([0, 0, 0, 1]), 0)]
    first, *rest = sorted("abc", key=digests.__getitem__)
    assert order == [*sorted([first, "d"], key=digests.__getitem__), *rest]


@pytest.mark.parametrize(
    ("classes", "base", "new"), [(10, range(5), range(5, 10)), (5, range(3), range(3, 5)), (4, range(2), range(2, 4))]
)
def test_halves_of_the_classes(classes, base, new):
    assert study_labels("base", classes) == base and study_labels("new", classes) == new
    assert study_labels("all", classes) == study_labels("imagenet", classes) == range(classes)


def test_three_classes_have_no_halves():
    with pytest.raises(ValueError, match="4 are the fewest"):
        study_labels("new", 3)


def card(**changes) -> Card:
    facts = {
        "class_names": ['ä "quoted"', "under_score", '"seal": "'],
        "template": "a {}.",
        "sha256": "0",
        "origin": "o",
    }
    return Card(**{"name": "d", **facts, "licence": "l", "splits": "s", "packed": False, "notes": ["n"], **changes})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one"], "1 class; .* at least 2"),
        (["sea lion", "sea_lion"], "two classes are called 'sea lion'; rename one"),
        (["caf\xe9", "cafe\u0301"], "two classes are called 'caf\xe9'; rename one"),
    ],
    ids=["one class", "equal names", "one name in two Unicode forms"],
)
def test_classes_must_be_distinct(names, message):
    with pytest.raises(ValueError, match=message):
        card(class_names=names)


def test_a_card_has_one_unicode_form_of_each_name():
    assert card(class_names=["cafe\u0301", "dog"]).class_names == ["caf\xe9", "dog"]


def test_a_card_comes_back_as_it_was_and_damage_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = card_file("d")
    path.parent.mkdir(parents=True)
    write_card(path, card())
    assert read_card("d") == card()
    whole = path.read_bytes()
    for content in (whole.replace(b"a {}", b"the {}"), b"\xef\xbb\xbf" + whole):  # a byte-order mark
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data/cards/d\.json: damaged, .*delete it and run `dvc repro`"):
            read_card("d")
    path.unlink()
    with pytest.raises(ValueError, match=r"data/cards/d\.json: missing; `dvc repro`"):
        read_card("d")
