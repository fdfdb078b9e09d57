"""ImageNet and its shifts: labels follow the thousand classes, folders follow their names."""

from pathlib import Path

import pytest

from stages.datasets.imagenet import SOURCES, classes_of, wnids
from stages.datasets.listing import Item
from tests.datasets.miniatures import write_image

NAMES = "n01440764 tench\nn01443537 goldfish\nn01498041 stingray\n"  # goldfish is in R, stingray in both A and R
ALL = "all images are judged; there are none to tune on"


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "classnames.txt").write_text(NAMES)
    return tmp_path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize("outer", ["", "images/"])
def test_imagenet_is_tuned_on_train_and_judged_on_val(raw, outer):
    for name in (
        "train/n01443537/b.JPEG",
        "train/n01443537/a.JPEG",
        "train/n01440764/c.JPEG",
        "train/n01498041/d.JPEG",
    ):
        write_image(raw / outer / name)
    for wnid in ("n01440764", "n01443537", "n01498041", "n15075141"):  # the last is not in classnames.txt
        write_image(raw / outer / "val" / wnid / "ILSVRC2012_val_00000001.JPEG")
    (raw / outer / "val" / "README.txt").write_text("no folder")
    listing = SOURCES["imagenet"].list_images(raw)
    assert listing.class_names == ["tench", "goldfish", "stingray"]
    assert listing.train == [
        Item(f"{outer}train/n01440764/c.JPEG", 0),
        Item(f"{outer}train/n01443537/a.JPEG", 1),
        Item(f"{outer}train/n01443537/b.JPEG", 1),
        Item(f"{outer}train/n01498041/d.JPEG", 2),
    ]
    folders = enumerate(("n01440764", "n01443537", "n01498041"))
    assert listing.test == [Item(f"{outer}val/{wnid}/ILSVRC2012_val_00000001.JPEG", label) for label, wnid in folders]
    assert listing.splits == "official (train; the validation images are judged)"


@pytest.mark.parametrize(
    ("name", "folder", "kept"),
    [
        ("imagenet_sketch", "sketch", NAMES),
        ("imagenet_sketch", "images", NAMES),
        ("imagenet_a", "imagenet-a", "n01498041 stingray\n"),
        ("imagenet_r", "imagenet-r", "n01443537 goldfish\nn01498041 stingray\n"),
    ],
)
def test_a_shift_has_no_training_image_and_its_own_classes(raw, name, folder, kept):
    classes = dict(line.split() for line in kept.splitlines())
    for wnid in classes:
        write_image(raw / folder / wnid / "x.jpg")
    listing = SOURCES[name].list_images(raw)
    assert (listing.class_names, listing.train, listing.splits) == (list(classes.values()), [], ALL)
    assert listing.test == [Item(f"{folder}/{wnid}/x.jpg", label) for label, wnid in enumerate(classes)]


def test_the_folders_of_v2_are_numbers_and_not_words(tmp_path):
    folder = "imagenetv2-matched-frequency-format-val"
    for label in range(1000):
        touch(tmp_path / folder / str(label) / "x.jpeg")
    listing = SOURCES["imagenet_v2"].list_images(tmp_path)
    assert listing.test == [Item(f"{folder}/{label}/x.jpeg", label) for label in range(1000)]
    assert (listing.class_names[2], listing.class_names[10], listing.train) == ("great white shark", "brambling", [])


def test_the_classes_of_v2_may_be_chosen_in_any_order(tmp_path):
    (tmp_path / "classnames.txt").write_text("n15075141 toilet tissue\nn01440764 fish\n")
    folder = "imagenetv2-matched-frequency-format-val"
    for label in (0, 5, 999):
        touch(tmp_path / folder / str(label) / "x.jpeg")
    listing = SOURCES["imagenet_v2"].list_images(tmp_path)
    assert listing.class_names == ["toilet tissue", "fish"]
    assert listing.test == [Item(f"{folder}/999/x.jpeg", 0), Item(f"{folder}/0/x.jpeg", 1)]


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("imagenet", 1000, ("n01440764", "tench"), ("n15075141", "toilet paper")),
        ("imagenet_a", 200, ("n01498041", "stingray"), ("n12267677", "acorn")),
        ("imagenet_r", 200, ("n01443537", "goldfish"), ("n12267677", "acorn")),
    ],
)
def test_without_a_list_the_names_are_those_of_clip(tmp_path, name, count, first, last):
    classes = classes_of(tmp_path, wnids(name))
    assert len(classes) == len(set(classes.values())) == count
    assert list(classes) == sorted(classes)
    pairs = list(classes.items())
    assert (pairs[0], pairs[-1]) == (first, last)


def test_two_pairs_of_classes_that_clip_calls_alike_are_told_apart(tmp_path):
    classes = classes_of(tmp_path, wnids("imagenet"))
    assert [classes[wnid] for wnid in ("n03773504", "n04008634", "n04355933", "n04356056")] == [
        "missile", "projectile", "sunglass", "sunglasses",
    ]  # fmt: skip
    assert classes_of(tmp_path, ["n04008634"]) == {"n04008634": "missile"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("n01440764\n", "malformed"),
        ("n00000001 thing\n", r"unknown class 'n00000001'"),
        ("n01440764 tench\nn01440764 fish\n", "a class is there twice"),
    ],
)
def test_a_wrong_list_of_names_is_named(tmp_path, lines, message):
    touch(tmp_path / "train" / "n01440764" / "x.JPEG")
    (tmp_path / "classnames.txt").write_text(lines)
    with pytest.raises(ValueError, match=rf"classnames\.txt: .*{message}"):
        SOURCES["imagenet"].list_images(tmp_path)


def test_missing_empty_and_unknown_folders_are_named(raw):
    for wnid in ("n01440764", "n01443537"):
        touch(raw / "train" / wnid / "x.JPEG")
    with pytest.raises(ValueError, match="train/n01498041: missing"):
        SOURCES["imagenet"].list_images(raw)
    touch(raw / "train" / "n01498041" / "notes.txt")
    with pytest.raises(ValueError, match="train/n01498041: holds no image"):
        SOURCES["imagenet"].list_images(raw)
    touch(raw / "train" / "n01498041" / "x.JPEG")
    with pytest.raises(ValueError, match="val: missing"):
        SOURCES["imagenet"].list_images(raw)
    touch(raw / "train" / "n00000001" / "x.JPEG")
    with pytest.raises(ValueError, match="train/n00000001: unknown class; the 1000 are n01440764 to n15075141"):
        SOURCES["imagenet"].list_images(raw)


@pytest.mark.parametrize(("name", "stranger"), [("imagenet_a", "n01443537"), ("imagenet_v2", "1000")])
def test_a_folder_that_the_shift_has_not_is_named(raw, name, stranger):
    folder = {"imagenet_a": "imagenet-a", "imagenet_v2": "imagenetv2-matched-frequency-format-val"}[name]
    touch(raw / folder / stranger / "x.JPEG")
    with pytest.raises(ValueError, match=f"{folder}/{stranger}: unknown class"):
        SOURCES[name].list_images(raw)


@pytest.mark.parametrize("name", SOURCES)
def test_an_empty_folder_is_an_error(tmp_path, name):
    with pytest.raises(ValueError, match=f"{tmp_path}.*: missing"):
        SOURCES[name].list_images(tmp_path)
