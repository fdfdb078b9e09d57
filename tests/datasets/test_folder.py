"""The user's own folder: what is listed, what is held out, and what each mistake gets."""

import json
import os
import re
import shutil
import unicodedata
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.decode import path_of
from stages.datasets.folder import folder_source, list_folder

BIRDS = {"train": {"jay": "abcde", "wren": "fghij"}, "test": {"jay": "kl", "wren": "m"}}
FORMS = ("NFC", "NFD")


def build(raw, splits=BIRDS, naming=None):
    """Make an image file for each letter; nothing here decodes one."""
    for split, classes in splits.items():
        for name, contents in classes.items():
            (raw / split / name).mkdir(parents=True)
            for content in contents:
                (raw / split / name / f"{content}.png").write_bytes(content.encode())
    if naming is not None:
        (raw / "classes.json").write_text(naming if isinstance(naming, str) else json.dumps(naming), encoding="utf-8")
    return raw


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


def listed(raw, held_out=0.2):
    listing = list_folder(raw, held_out=held_out)
    if listing.faults:
        raise ValueError("\n".join(listing.faults))
    return listing


def pairs(items):
    return [(item.id, item.label) for item in items]


def test_train_and_test_are_listed_in_order_hidden_ones_and_leftovers_skipped(raw):
    build(raw)
    left = ("train/jay/Thumbs.db", "train/jay/desktop.ini", "test/ehthumbs.db", "__MACOSX/x", "train/jay/._a.png")
    for hidden in (".DS_Store", "train/.DS_Store", "train/jay/.hidden.png", ".git/HEAD", "test/.cache/x", *left):
        (raw / hidden).parent.mkdir(exist_ok=True)
        (raw / hidden).touch()
    source = folder_source(raw, held_out=0.2)
    assert (source.origin, source.template, source.download) == (f"the user's folder {raw}", "a photo of a {}.", None)
    listing = source.list_images(raw)
    assert listing.class_names == ["jay", "wren"] and listing.splits == "the user's folders train and test"
    assert pairs(listing.train) == [(f"train/jay/{x}.png", 0) for x in "abcde"] + [
        (f"train/wren/{x}.png", 1) for x in "fghij"
    ]
    assert pairs(listing.test) == [("test/jay/k.png", 0), ("test/jay/l.png", 0), ("test/wren/m.png", 1)]


def test_labels_follow_train_when_a_class_has_no_test_images(raw):
    assert pairs(listed(build(raw, {**BIRDS, "test": {"wren": "m"}})).test) == [("test/wren/m.png", 1)]


def test_test_images_alone_are_listed_by_their_own_classes_named_by_classes_json(raw):
    naming = {"template": "a photo of a {}, a type of bird.", "names": {"wren": "house wren"}}
    build(raw, {"test": BIRDS["test"]}, naming=naming)
    assert folder_source(raw, held_out=0.2).template == "a photo of a {}, a type of bird."
    listing = listed(raw)
    assert listing.class_names == ["jay", "house wren"] and listing.splits == "the user's folder test"
    assert not listing.train and pairs(listing.test) == [
        ("test/jay/k.png", 0), ("test/jay/l.png", 0), ("test/wren/m.png", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("naming", "message"),
    [
        ("{", "no readable JSON"),
        ("[" * 100_000, "no readable JSON"),
        ([], "an object with the keys"),
        ({"name": {}}, '"template" and "names"'),
        ({"template": "a bird."}, r"template 'a bird\.'; text with exactly one {}"),
        ({"template": "{} {}"}, "exactly one {}"),
        ({"template": 3}, "exactly one {}"),
        ({"names": ["jay"]}, "maps folders to text"),
        ({"names": {"jay": 3}}, "maps folders to text"),
        ({"names": {"jay": " "}}, "maps folders to text"),
        ({"names": {"jya": "x"}}, "no folder 'jya' in train; there are: jay, wren"),
        ({"names": {"caf\xe9": "x", "cafe\u0301": "y"}}, r"'caf\\xe9' and 'cafe\\u0301' are one name"),
    ],
)
def test_a_wrong_classes_json_is_named(raw, naming, message):
    build(raw, naming=naming)
    with pytest.raises(ValueError, match=rf"classes\.json: .*{message}"):
        listed(raw)


def test_a_byte_order_mark_before_classes_json_is_passed_over(raw):
    build(raw, naming="\ufeff" + json.dumps({"names": {"jay": "Häher"}}))
    assert listed(raw).class_names == ["Häher", "wren"]


def hidden_only(raw):
    (raw / "train/owl").mkdir()
    (raw / "train/owl/.x.png").touch()


def both_linked(raw):
    for split in ("train", "test"):
        (raw / split).rename(raw.parent / split)
        (raw / split).symlink_to(raw.parent / split)


MISTAKES = {
    "neither train nor test": (
        lambda raw: [shutil.rmtree(raw / split) for split in ("train", "test")],
        "raw: no images; put your own there as train/<class>/*",
    ),
    "empty": (lambda raw: (raw / "train/owl").mkdir(), "raw/train/owl: no images; each class needs at least one"),
    "hidden files only": (hidden_only, "raw/train/owl: no images"),
    "empty in test": (lambda raw: (raw / "test/wren/m.png").unlink(), "raw/test/wren: no images"),
    "no class in test": (
        lambda raw: [shutil.rmtree(raw / "test" / name) for name in ("jay", "wren")],
        "raw/test: no class folders",
    ),
    "test class unknown to train": (
        lambda raw: (raw / "test/wren").rename(raw / "test/owl"),
        "raw/test/owl: 'owl' is missing from ",
    ),
    "folder inside a class": (
        lambda raw: (raw / "train/jay/young").mkdir(),
        "raw/train/jay/young: a folder inside a class",
    ),
    "file beside the classes": (
        lambda raw: (raw / "train/notes.txt").touch(),
        "raw/train/notes.txt: missing or no folder",
    ),
    "misspelt test": (
        lambda raw: (raw / "test").rename(raw / "tets"),
        "raw/tets: not expected; allowed are train, test, classes.json",
    ),
    "linked class": (lambda raw: (raw / "train/owl").symlink_to("jay"), "raw/train/owl: leads out of its folder to "),
    "linked folders": (both_linked, "raw/test: leads out of its folder to "),
    "circle": (lambda raw: (raw / "train/jay/up").symlink_to(".."), "raw/train/jay/up: leads out of its folder to "),
    "name that is not Unicode": (
        lambda raw: (raw / "train/jay" / os.fsdecode(b"\xff.png")).touch(),
        r"the name '\udcff.png' is not valid Unicode",
    ),
    "two forms of a name": (
        lambda raw: [(raw / "train" / unicodedata.normalize(form, "café")).mkdir() for form in FORMS],
        r"raw/train: 'cafe\u0301' and 'caf\xe9' are one name in two Unicode forms",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(raw, mistake):
    make, message = MISTAKES[mistake]
    make(build(raw))
    with pytest.raises(ValueError, match=re.escape(message)):
        listed(raw)


def test_one_error_names_all_mistakes(raw):
    build(raw, naming={"names": {"jya": "x", "wern": "y"}})
    for folder in ("train/jay/young", "train/jay/old", "test/jay/young", "train/owl", "train/kite", "test/hen", "tets"):
        (raw / folder).mkdir()
    (raw / "train/notes.txt").touch()
    (raw / "read.me").touch()
    expected = [
        "raw/read.me: not expected",
        "raw/tets: not expected",
        "raw/train/jay/old: a folder inside a class",
        "raw/train/jay/young: a folder inside a class",
        "raw/train/kite: no images",
        "raw/train/notes.txt: missing or no folder",
        "raw/train/owl: no images",
        "raw/test/hen: 'hen' is missing from ",
        "raw/test/jay/young: a folder inside a class",
        "raw/classes.json: no folder 'jya', 'wern' in train",
    ]
    with pytest.raises(ValueError, match="raw: 10 files or folders do not fit; allowed are train/<class>/") as caught:
        listed(raw)
    lines = str(caught.value).split("\n")[1:]
    assert len(lines) == len(expected) and all(map(str.__contains__, lines, expected))


@pytest.mark.parametrize(
    "name", ["Übung 猫", 'quo"ted', "it's", "<script>alert(1)<", "two  spaces", "under_score", "%2e"]
)
def test_class_names_pass_unchanged(raw, name):
    listing = listed(build(raw, {"train": {name: "ab", "zz": "cd"}, "test": {name: "e"}}))
    assert listing.test[0].id == f"test/{name}/e.png" and listing.class_names[listing.test[0].label] == name


@pytest.mark.parametrize(("train", "test", "naming"), [*product(FORMS, FORMS, FORMS)])
def test_folders_of_train_and_test_and_classes_json_may_be_in_either_unicode_form(raw, train, test, naming):
    """In NFD "café" would come before "cafz", in NFC it comes after it."""
    names = [unicodedata.normalize(naming, text) for text in ("Übung", "die Übung")]
    splits = {
        split: {unicodedata.normalize(form, name): "ab" for name in ("café", "cafz", "Übung")}
        for split, form in (("train", train), ("test", test))
    }
    listing = listed(build(raw, splits, naming={"names": {names[0]: names[1]}}))
    assert listing.class_names == ["cafz", "café", "die Übung"]
    for items in (listing.train, listing.test):
        assert [item.label for item in items] == [0, 0, 1, 1, 2, 2]
        assert all(path_of(raw, item.id).is_file() for item in items)


@pytest.mark.parametrize(("held_out", "count"), [(0.2, 2), (0.25, 2), (0.5, 5), (0.01, 1), (0.99, 9)])
def test_a_share_of_each_class_is_held_out(raw, held_out, count):
    build(raw, {"train": {"x": "abcdefghij", "y": "klmnopqrst"}})
    listing = listed(raw, held_out)
    assert [sum(item.label == label for item in listing.test) for label in (0, 1)] == [count, count]
    assert sorted(pairs(listing.train) + pairs(listing.test)) == sorted(
        [(f"train/x/{x}.png", 0) for x in "abcdefghij"] + [(f"train/y/{y}.png", 1) for y in "klmnopqrst"]
    )
    assert f"a share of {held_out:g} of the user's folder train" in listing.splits


@settings(max_examples=30, deadline=None)
@given(names=st.permutations(list("0123456789")))
def test_the_side_of_an_image_depends_on_its_content_not_on_its_name(tmp_path_factory, names):
    raw = build(tmp_path_factory.mktemp("own") / "raw", {"train": {"x": names, "y": "ab"}})
    for name, content in zip(names, "abcdefghij", strict=True):
        (raw / "train" / "x" / f"{name}.png").write_bytes(content.encode())
    held = {(raw / item.id).read_bytes() for item in listed(raw, 0.3).test if item.label == 0}
    assert held == {b"j", b"d", b"f"}  # the three smallest sha256


def test_doubles_of_an_image_stay_on_one_side(raw):
    build(raw, {"train": {"x": "abcd", "y": "efgh"}})
    for name in "abcd":
        shutil.copy(raw / f"train/x/{name}.png", raw / f"train/x/copy of {name}.png")
    listing = listed(raw, 0.5)
    sides = [
        {(raw / item.id).read_bytes() for item in side if item.label == 0} for side in (listing.train, listing.test)
    ]
    assert not sides[0] & sides[1] and [len(side) for side in sides] == [2, 2]


def test_a_class_with_one_image_cannot_be_divided(raw):
    build(raw, {"train": {"x": "a", "y": "bc"}})
    shutil.copy(raw / "train/x/a.png", raw / "train/x/again.png")
    with pytest.raises(
        ValueError, match=r"raw: holding out a share needs at least 2 different images (.|\n)*  .*raw/train/x$"
    ):
        listed(raw)


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 1.5, float("nan")])
def test_the_share_must_leave_both_sides_something_and_is_not_needed_with_a_test_folder(raw, held_out):
    build(raw)
    assert listed(raw, held_out) == listed(raw, 0.5)
    shutil.rmtree(raw / "test")
    with pytest.raises(ValueError, match=r"fetch\.held_out: .*more than 0 and less than 1"):
        listed(raw, held_out)
