"""A name is one name in either Unicode form: among folders, in `classes.json`, and in split files beside folders."""

import json
import shutil
import unicodedata
from itertools import product

import pytest

from stages.datasets import eurosat
from stages.datasets.card_file import read_card
from stages.datasets.decode import decode, path_of
from stages.datasets.folder import list_folder
from stages.datasets.index_file import read_index
from stages.datasets.splits import label_of
from stages.datasets.zhou import zhou
from stages.fetch import main
from tests.datasets.miniatures import write_image
from tests.imports import ROOT

FORMS = ("NFC", "NFD")
NAMES = ["café", "cafz", "Übung"]  # in NFD "café" would come before "cafz", in NFC it comes after it


def written(form, text):
    """Text in a Unicode form."""
    return unicodedata.normalize(form, text)


def contents(raw, items):
    """The file of each image, with its label; a path that is not on disk under this very name is an error."""
    return [(path_of(raw, item.id).read_bytes(), item.label) for item in items]


def build(raw, train, test):
    """Two images of each class in train and one in test, each split in a Unicode form of its own."""
    for split, form, letters in (("train", train, "ab"), ("test", test, "c")):
        for name in NAMES:
            folder = raw / split / written(form, name)
            folder.mkdir(parents=True)
            for letter in letters:
                (folder / written(form, f"é{letter}.png")).write_text(f"{name} {letter}")
    assert {path.name for path in (raw / "train").iterdir()} == {written(train, name) for name in NAMES}


@pytest.mark.parametrize(("train", "test", "naming"), [*product(FORMS, FORMS, FORMS)])
def test_folders_of_train_and_test_and_classes_json_may_be_in_either_form(tmp_path, train, test, naming):
    build(tmp_path, train, test)
    names = {written(naming, "Übung"): written(naming, "die Übung"), written(naming, "café"): "café au lait"}
    (tmp_path / "classes.json").write_text(json.dumps({"names": names}))
    listing = list_folder(tmp_path, held_out=0.2)
    assert listing.class_names == ["cafz", "café au lait", "die Übung"]
    folders = ["cafz", "café", "Übung"]
    pairs = [(f"{name} a".encode(), label) for label, name in enumerate(folders)]
    assert contents(tmp_path, listing.train)[::2] == pairs
    assert contents(tmp_path, listing.test) == [(f"{name} c".encode(), label) for label, name in enumerate(folders)]


@pytest.mark.parametrize("split", ["train", "test"])
def test_two_folders_of_one_split_that_differ_in_form_alone_are_refused_with_both(tmp_path, split):
    build(tmp_path, "NFC", "NFC")
    (tmp_path / split / written("NFD", "café")).mkdir()
    with pytest.raises(ValueError, match=rf"{split}: 'cafe\\u0301' and 'caf\\xe9' are one name in two Unicode forms"):
        list_folder(tmp_path, held_out=0.2)


def test_two_keys_of_classes_json_that_differ_in_form_alone_are_refused_with_both(tmp_path):
    build(tmp_path, "NFC", "NFC")
    names = {written(form, "café"): f"{form} coffee" for form in FORMS}
    (tmp_path / "classes.json").write_text(json.dumps({"names": names}))
    with pytest.raises(ValueError, match=r"classes\.json: 'caf\\xe9' and 'cafe\\u0301' are one name"):
        list_folder(tmp_path, held_out=0.2)


def test_names_spoken_alike_in_two_forms_are_refused(tmp_path):
    build(tmp_path, "NFC", "NFC")
    (tmp_path / "classes.json").write_text(json.dumps({"names": {"cafz": written("NFD", "café")}}))
    with pytest.raises(ValueError, match="'cafz' and 'café' are both spoken 'café'"):
        list_folder(tmp_path, held_out=0.2)


@pytest.mark.parametrize(("disk", "listed"), [*product(FORMS, FORMS)])
def test_a_split_file_finds_folders_and_files_of_either_form(tmp_path, disk, listed):
    """Its class names too: one label may be called in both forms."""
    rows = {"train": [], "val": [], "test": []}
    for label, name in enumerate(["café", "Übung"]):
        for split, image in (("train", "é1.jpg"), ("test", "é2.jpg")):
            write_image(tmp_path / "images" / written(disk, f"outér/{name}/{image}"))
            form = listed if split == "train" else "NFC"
            rows[split].append([written(listed, f"outér/{name}/{image}"), label, written(form, name)])
    (tmp_path / "split.json").write_text(json.dumps(rows))
    listing = zhou(tmp_path, tmp_path / "images", "split.json")
    assert listing.class_names == ["café", "Übung"]
    assert [item.id for item in listing.train] == [
        written(disk, f"images/outér/{name}/é1.jpg") for name in ("café", "Übung")
    ]
    for item in listing.train + listing.test:
        assert decode(path_of(tmp_path, item.id)).size == (16, 16)


def test_one_image_listed_in_both_forms_is_listed_twice(tmp_path):
    write_image(tmp_path / "é/1.jpg")
    rows = {split: [[written(form, "é/1.jpg"), 0, "é"]] for split, form in (("train", "NFC"), ("test", "NFD"))}
    (tmp_path / "split.json").write_text(json.dumps({**rows, "val": []}))
    with pytest.raises(ValueError, match=r"'é/1\.jpg' is listed 2 times"):
        zhou(tmp_path, tmp_path, "split.json")


def test_a_missing_image_is_named_as_it_is_on_disk_as_far_as_it_is_there(tmp_path):
    write_image(tmp_path / written("NFD", "é/1.jpg"))
    rows = {"train": [["é/1.jpg", 0, "é"]], "val": [], "test": [["é/2.jpg", 0, "é"], ["ü/2.jpg", 0, "é"]]}
    (tmp_path / "split.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=f"{written('NFD', 'é')}/2.jpg: missing, one of 2 such"):
        zhou(tmp_path, tmp_path, "split.json")


def test_two_files_that_differ_in_form_alone_are_refused_where_a_list_names_one(tmp_path):
    for form in FORMS:
        write_image(tmp_path / written(form, "x/é.jpg"))
    rows = {"train": [["x/é.jpg", 0, "x"]], "val": [], "test": [["x/é.jpg", 0, "x"]]}
    (tmp_path / "split.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"x: .* are one name in two Unicode forms"):
        zhou(tmp_path, tmp_path, "split.json")


def test_the_split_by_digest_of_the_path_is_the_same_in_either_form(tmp_path):
    held = {}
    for form in FORMS:
        for folder, number in product(eurosat.NAMES, range(10)):
            write_image(tmp_path / form / "2750" / folder / written(form, f"é{number}.jpg"))
        listing = eurosat.list_images(tmp_path / form)
        held[form] = [written("NFC", item.id) for item in listing.test]
        assert all(path_of(tmp_path / form, item.id).is_file() for item in listing.train + listing.test)
    assert held["NFC"] == held["NFD"]


def test_an_unknown_class_stays_unknown():
    with pytest.raises(ValueError, match="unknown class 'cafe'"):
        label_of(["café", "flan"], "cafe")


def test_fetch_takes_folders_of_two_forms_and_opens_the_real_files(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for (split, form), name in product({"train": "NFD", "test": "NFC"}.items(), NAMES):
        write_image(tmp_path / "data/raw/mine" / split / written(form, name) / written(form, f"é {split} {name}.jpg"))
    assert "3 + 3 images, 3 classes" in main("mine")
    assert read_card("mine").class_names == ["cafz", "café", "Übung"]
    index = read_index("mine")
    assert index.labels.tolist() == [0, 1, 2] * 2 and written("NFD", "train/café/é train café.jpg") in index.ids
