"""The user's own folder: what is listed, what is held out, and what each mistake gets."""

import json
import os
import re
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.folder import folder_source, list_folder

BIRDS = {"train": {"jay": "abcde", "wren": "fghij"}, "test": {"jay": "kl", "wren": "m"}}


def build(raw, splits=BIRDS, naming=None):
    """Makes an image file for each letter; nothing here decodes one."""
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
    return list_folder(raw, held_out=held_out)


def pairs(items):
    return [(item.id, item.label) for item in items]


def test_train_and_test_are_listed_in_order_hidden_ones_and_leftovers_skipped(raw):
    build(raw)
    left = ("train/jay/Thumbs.db", "train/jay/desktop.ini", "test/ehthumbs.db", "__MACOSX/x", "train/jay/._a.png")
    for hidden in (".DS_Store", "train/.DS_Store", "train/jay/.hidden.png", ".git/HEAD", "test/.cache/x", *left):
        (raw / hidden).parent.mkdir(exist_ok=True)
        (raw / hidden).touch()
    listing = listed(raw)
    assert listing.class_names == ["jay", "wren"] and listing.splits == "the user's folders train and test"
    assert pairs(listing.train) == [(f"train/jay/{x}.png", 0) for x in "abcde"] + [
        (f"train/wren/{x}.png", 1) for x in "fghij"
    ]
    assert pairs(listing.test) == [("test/jay/k.png", 0), ("test/jay/l.png", 0), ("test/wren/m.png", 1)]


def test_labels_follow_train_when_a_class_has_no_test_images(raw):
    build(raw, {**BIRDS, "test": {"wren": "m"}})
    assert pairs(listed(raw).test) == [("test/wren/m.png", 1)]


def test_test_images_alone_are_listed_by_their_own_classes(raw):
    build(raw, {"test": BIRDS["test"]}, naming={"names": {"wren": "house wren"}})
    listing = listed(raw)
    assert listing.class_names == ["jay", "house wren"] and listing.splits == "the user's folder test"
    assert not listing.train and pairs(listing.test) == [
        ("test/jay/k.png", 0), ("test/jay/l.png", 0), ("test/wren/m.png", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": {"jay": "k", "owl": ""}}, "raw/test/owl: no images"),
        ({"test": {"jay": "k"}}, "raw/test: 1 class; at least 2"),
        ({"test": {"sea lion": "k", "sea_lion": "l"}}, "raw/test: 'sea lion' and 'sea_lion' are both spoken"),
    ],
)
def test_a_mistake_among_test_images_alone_is_named(raw, splits, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        listed(build(raw, splits))


def test_every_file_that_cannot_be_read_is_named_before_a_share_is_held_out(raw):
    build(raw, {"train": BIRDS["train"]})
    for name in ("x", "y"):
        (raw / "train" / "jay" / f"{name}.png").symlink_to("missing.png")
    with pytest.raises(
        ValueError, match=r"2 of 12 images cannot be read\n.*jay/x\.png: cannot .*\n.*jay/y\.png: cannot"
    ):
        listed(raw)


def test_the_source_says_whose_images_they_are(raw):
    source = folder_source(build(raw), held_out=0.2)
    assert source.origin == f"the user's folder {raw}" and source.licence == "the user's" and source.own
    assert source.template == "a photo of a {}." and not source.packed
    assert source.list_images(raw) == listed(raw)


def test_an_empty_folder_says_what_to_put_there(raw):
    with pytest.raises(ValueError, match=r"raw: no images; put your own there as train/<class>/\*"):
        folder_source(raw, held_out=0.2).download(raw)


def test_classes_json_sets_template_and_names(raw):
    build(raw, naming={"template": "a photo of a {}, a type of bird.", "names": {"wren": "house wren"}})
    assert folder_source(raw, held_out=0.2).template == "a photo of a {}, a type of bird."
    assert listed(raw).class_names == ["jay", "house wren"]


@pytest.mark.parametrize(
    ("naming", "message"),
    [
        ("{", "no readable JSON"),
        ([], "an object with the keys"),
        ({"name": {}}, '"template" and "names"'),
        ({"template": "a bird."}, r"template 'a bird\.'; text with exactly one {}"),
        ({"template": "{} {}"}, "exactly one {}"),
        ({"template": 3}, "exactly one {}"),
        ({"names": ["jay"]}, "maps folders to text"),
        ({"names": {"jay": 3}}, "maps folders to text"),
        ({"names": {"jay": " "}}, "maps folders to text"),
        ({"names": {"jya": "x"}}, "no folder 'jya' in train; there are: jay, wren"),
        ({"names": {"jay": "wren"}}, "'jay' and 'wren' are both spoken 'wren'"),
    ],
)
def test_a_wrong_classes_json_is_named(raw, naming, message):
    build(raw, naming=naming)
    with pytest.raises(ValueError, match=rf"(classes\.json|train): .*{message}"):
        folder_source(raw, held_out=0.2).list_images(raw)


def no_images(raw):
    shutil.rmtree(raw / "train")
    shutil.rmtree(raw / "test")


def empty_class(raw):
    (raw / "train" / "owl").mkdir()


def hidden_only(raw):
    empty_class(raw)
    (raw / "train" / "owl" / ".x.png").touch()


def empty_test_class(raw):
    (raw / "test" / "jay" / "k.png").unlink()
    (raw / "test" / "jay" / "l.png").unlink()


def empty_test(raw):
    shutil.rmtree(raw / "test")
    (raw / "test").mkdir()


def one_class(raw):
    shutil.rmtree(raw / "train" / "wren")


def unknown_to_train(raw):
    (raw / "test" / "owl").mkdir()
    (raw / "test" / "owl" / "x.png").touch()


def spoken_alike(raw):
    for name in ("sea lion", "sea_lion"):
        shutil.copytree(raw / "train" / "jay", raw / "train" / name)


def nested(raw):
    (raw / "train" / "jay" / "young").mkdir()


def stray(raw):
    (raw / "train" / "notes.txt").touch()


def misspelt(raw):
    (raw / "test").rename(raw / "tets")


def link_out(raw):
    (raw.parent / "secret.png").touch()
    (raw / "train" / "jay" / "x.png").symlink_to(raw.parent / "secret.png")


def folder_link_out(raw):
    (raw / "train" / "jay").rename(raw.parent / "jay")
    (raw / "train" / "jay").symlink_to(raw.parent / "jay")


def folder_link_within(raw):
    (raw / "train" / "owl").symlink_to("jay")


def split_link(raw):
    (raw / "test").rename(raw.parent / "elsewhere")
    (raw / "test").symlink_to("../elsewhere")


def both_linked(raw):
    for split in ("train", "test"):
        (raw / split).rename(raw.parent / split)
        (raw / split).symlink_to(raw.parent / split)


def circle(raw):
    (raw / "train" / "jay" / "up").symlink_to("..")


def not_unicode(raw):
    (raw / "train" / "jay" / os.fsdecode(b"\xff.png")).touch()


MISTAKES = {
    "neither train nor test": (no_images, "raw/train: missing or no folder; allowed are train/<class>/*"),
    "empty": (empty_class, "raw/train/owl: no images; each class needs at least one"),
    "hidden files only": (hidden_only, "raw/train/owl: no images"),
    "empty in test": (empty_test_class, "raw/test/jay: no images"),
    "no class in test": (empty_test, "raw/test: no class folders"),
    "one class": (one_class, "raw/train: 1 class; at least 2 are allowed"),
    "test class unknown to train": (unknown_to_train, "raw/test/owl: 'owl' is missing from "),
    "spoken alike": (spoken_alike, "'sea lion' and 'sea_lion' are both spoken 'sea lion'"),
    "folder inside a class": (nested, "raw/train/jay/young: a folder inside a class"),
    "file beside the classes": (stray, "raw/train/notes.txt: missing or no folder"),
    "misspelt test": (misspelt, "raw/tets: not expected; allowed are train, test, classes.json"),
    "link": (link_out, "raw/train/jay/x.png: leads out of"),
    "linked class": (folder_link_out, "raw/train/jay: leads out of its folder to "),
    "linked class, within": (folder_link_within, "raw/train/owl: leads out of its folder to "),
    "linked split": (split_link, "raw/test: leads out of its folder to "),
    "linked folders": (both_linked, "(one of 2 such links in "),
    "circle": (circle, "raw/train/jay/up: leads out of its folder to "),
    "name that is not Unicode": (not_unicode, r"the name '\udcff.png' is not valid Unicode"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(raw, mistake):
    make, message = MISTAKES[mistake]
    make(build(raw))
    with pytest.raises(ValueError, match=re.escape(message)):
        listed(raw)


@pytest.mark.parametrize(
    "name", ["Übung 猫", 'quo"ted', "it's", "<script>alert(1)<", "two  spaces", "under_score", "%2e"]
)
def test_class_names_pass_unchanged(raw, name):
    build(raw, {"train": {name: "ab", "zz": "cd"}, "test": {name: "e"}})
    listing = listed(raw)
    assert name in listing.class_names
    assert listing.test[0].id == f"test/{name}/e.png" and listing.class_names[listing.test[0].label] == name


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
    raw = tmp_path_factory.mktemp("own") / "raw"
    build(raw, {"train": {"x": names, "y": "ab"}})
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
    with pytest.raises(ValueError, match=r"raw/train/x: 1 image; holding out a share needs at least 2 different ones"):
        listed(raw)


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 1.5, float("nan")])
def test_the_share_must_leave_both_sides_something(raw, held_out):
    build(raw, {"train": BIRDS["train"]})
    with pytest.raises(ValueError, match=r"fetch\.held_out: .*more than 0 and less than 1"):
        listed(raw, held_out)


def test_the_share_is_not_needed_with_a_test_folder(raw):
    assert listed(build(raw), held_out=0) == listed(raw, held_out=0.5)
