"""A split file finds folders and files whatever Unicode form their names have."""

import json
import unicodedata
from itertools import product

import pytest

from stages.datasets.catalogue import CATALOGUE
from stages.datasets.decode import decode, path_of
from stages.datasets.official import EUROSAT
from stages.datasets.splits import label_of, listing_of, read_coop
from tests.datasets.miniatures import write_image

FORMS = ("NFC", "NFD")


def written(form, text):
    """Text in a Unicode form."""
    return unicodedata.normalize(form, text)


def listed(raw, images, train, test):
    (raw / "split.json").write_text(json.dumps({"train": train, "val": [], "test": test}))
    return listing_of(raw, images, read_coop(raw / "split.json"))


@pytest.mark.parametrize(("disk", "list_form"), [*product(FORMS, FORMS)])
def test_a_split_file_finds_folders_and_files_of_either_form(tmp_path, disk, list_form):
    """Its class names too: one label may be called in both forms."""
    rows = {"é1.jpg": [], "é2.jpg": []}
    for label, name in enumerate(["café", "Übung"]):
        for image, form in (("é1.jpg", list_form), ("é2.jpg", "NFC")):
            write_image(tmp_path / "images" / written(disk, f"outér/{name}/{image}"))
            rows[image].append([written(list_form, f"outér/{name}/{image}"), label, written(form, name)])
    listing = listed(tmp_path, tmp_path / "images", *rows.values())
    assert listing.class_names == ["café", "Übung"]
    assert [item.id for item in listing.train] == [
        written(disk, f"images/outér/{name}/é1.jpg") for name in ("café", "Übung")
    ]
    for item in listing.train + listing.test:
        assert decode(path_of(tmp_path, item.id)).size == (16, 16)


@pytest.mark.parametrize(
    ("disk", "test", "message"),
    [
        (["NFC"], "NFD", r"'x/é\.jpg' is listed 2 times"),
        (FORMS, "NFC", "x: .* are one name in two Unicode forms"),
    ],
    ids=["listed in both forms", "on disk in both forms"],
)
def test_what_a_list_names_twice_or_leaves_open_is_named(tmp_path, disk, test, message):
    for form in disk:
        write_image(tmp_path / "x" / written(form, "é.jpg"))
    with pytest.raises(ValueError, match=message):
        listed(tmp_path, tmp_path, *([[written(form, "x/é.jpg"), 0, "x"]] for form in ("NFC", test)))


def test_a_missing_image_is_named_as_it_is_on_disk_as_far_as_it_is_there(tmp_path):
    write_image(tmp_path / written("NFD", "é/1.jpg"))
    with pytest.raises(ValueError, match=f"{written('NFD', 'é')}/2.jpg: missing, one of 2 such"):
        listed(tmp_path, tmp_path, [["é/1.jpg", 0, "é"]], [["é/2.jpg", 0, "é"], ["ü/2.jpg", 0, "é"]])


def test_the_split_by_digest_of_the_path_is_the_same_in_either_form(tmp_path):
    held = {}
    for form in FORMS:
        for folder, number in product(EUROSAT, range(10)):
            write_image(tmp_path / form / "2750" / folder / written(form, f"é{number}.jpg"))
        listing = CATALOGUE["eurosat"].list_images(tmp_path / form)
        held[form] = [written("NFC", item.id) for item in listing.test]
        assert all(path_of(tmp_path / form, item.id).is_file() for item in listing.train + listing.test)
    assert held["NFC"] == held["NFD"]


def test_an_unknown_class_stays_unknown():
    with pytest.raises(ValueError, match="unknown class 'cafe'"):
        label_of(["café", "flan"], "cafe")
