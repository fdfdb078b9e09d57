"""Data sets: the embedded one is what the catalogue says, choices do not depend on order."""

import numpy as np
import pytest
from PIL import Image

from stages.banks.table import read_table
from stages.datasets.card import Card, read_card, write_card
from stages.datasets.catalogue import Entry, check_files, entry
from stages.datasets.embedded import images_of
from stages.datasets.fewshot import choose, few_shot
from stages.datasets.images import fit

CARD = {"name": "d", "class_names": ["a", "b"], "template": "a {}.", "sha256": "0", "source": "s", "licence": "l"}
IDS = [f"train/{i}" for i in range(40)]
LABELS = np.arange(40) % 4


def test_the_embedded_default_is_whole():
    check_files(entry("fashion"))
    for split, count in (("train", 2000), ("test", 1000)):
        table, about = read_table(entry("fashion").folder / f"{split}.parquet")
        assert len(table) == len(set(table["id"].to_pylist())) == count
        assert set(table["label"].to_pylist()) == set(range(10)) and len(about["class_names"]) == 10


def test_train_and_test_share_no_image():
    train, test = (
        set(read_table(entry("fashion").folder / f"{split}.parquet")[0]["image"].to_pylist())
        for split in ("train", "test")
    )
    assert not train & test


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="'fashoin'; there are: fashion"):
        entry("fashoin")


def test_a_changed_or_missing_file_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"other")
    known = Entry(tmp_path, {"train.parquet": "0"}, "", "", "")
    with pytest.raises(ValueError, match=r"train\.parquet: damaged or another file"):
        check_files(known)
    with pytest.raises(ValueError, match=r"test\.parquet: missing"):
        check_files(Entry(tmp_path, {"test.parquet": "0"}, "", "", ""))


def test_padding_keeps_the_image_in_the_middle():
    grey = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28)
    padded = images_of(grey)
    assert padded.shape == (1, 32, 32, 3)
    assert all(np.array_equal(padded[0, 2:30, 2:30, channel], grey[0]) for channel in range(3))
    assert padded.astype(int).sum() == 3 * grey.astype(int).sum()


def test_fit_leaves_the_right_size_alone_and_equals_pillow_otherwise():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert np.array_equal(fit(pixels[:, :20], 20), pixels[:, :20])
    expected = Image.fromarray(pixels).resize((15, 10), Image.Resampling.BICUBIC).crop((2, 0, 12, 10))
    assert np.array_equal(fit(pixels, 10), np.asarray(expected))


def test_choices_do_not_depend_on_order():
    order = np.random.default_rng(0).permutation(40)
    shuffled = [IDS[i] for i in order]
    for mask, again in (
        (choose(IDS, 7, seed=1), choose(shuffled, 7, seed=1)),
        (few_shot(IDS, LABELS, 2, seed=1), few_shot(shuffled, LABELS[order], 2, seed=1)),
    ):
        assert {IDS[i] for i in np.flatnonzero(mask)} == {shuffled[i] for i in np.flatnonzero(again)}
    assert choose(IDS, 7, seed=1).sum() == 7
    assert not np.array_equal(choose(IDS, 7, seed=1), choose(IDS, 7, seed=2))


def test_few_shot_takes_as_many_of_each_class_or_says_which_has_fewer():
    assert np.bincount(LABELS[few_shot(IDS, LABELS, 3, seed=0)]).tolist() == [3, 3, 3, 3]
    with pytest.raises(ValueError, match=r"fewer images .*2: 1"):
        few_shot(IDS[:3], LABELS[:3], 2, seed=0)


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="41 images asked for, but there are 40"):
        choose(IDS, 41, seed=0)


def test_a_card_comes_back_as_it_was(tmp_path):
    card = Card(**{**CARD, "class_names": ['ä "quoted"', "under_score"]})
    write_card(tmp_path / "card.json", card)
    assert read_card(tmp_path / "card.json") == card


@pytest.mark.parametrize(
    ("names", "message"), [(["one"], "at least 2"), (["sea lion", "sea_lion"], "two classes are called 'sea lion'")]
)
def test_classes_must_be_distinct(names, message):
    with pytest.raises(ValueError, match=message):
        Card(**{**CARD, "class_names": names})
