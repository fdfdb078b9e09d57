"""CIFAR-10 as a folder of one's own: the same files from a clone and from Parquet, none of them in two parts."""

import io
import json
import sys
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.datasets.folder import folder_source, list_folder


@pytest.fixture
def photos(monkeypatch) -> ModuleType:
    """`data/embedded/photos.py`, with two files per class and part instead of thousands."""
    monkeypatch.syspath_prepend("data/embedded")
    monkeypatch.delitem(sys.modules, "photos", raising=False)
    import photos

    small = {"pretrain": ("train", range(2)), "train": ("train", range(4, 6)), "test": ("test", range(2))}
    monkeypatch.setattr(photos, "PARTS", small)
    return photos


@pytest.fixture
def clone(photos, tmp_path):
    """A miniature of the public repository, with a file that no part holds."""
    folder = tmp_path / "clone"
    files = {f"{split}/{name}/{number:04d}.jpg" for split, numbers in photos.PARTS.values()
             for name in photos.CLASS_NAMES for number in numbers}  # fmt: skip
    for index, file in enumerate(sorted(files | {"train/cat/0003.jpg"})):
        content = io.BytesIO()
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(content, "JPEG")
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content.getvalue())
    return folder


@pytest.fixture
def packed(photos, clone, tmp_path):
    """The same files as Parquet, in another order."""
    folder = tmp_path / "packed"
    folder.mkdir()
    for part in photos.PARTS:
        rows = list(photos.read_photos(clone, part))[::-1]
        table = pa.table({"file": [row.file for row in rows], "jpeg": [row.jpeg for row in rows]})
        pq.write_table(table, folder / f"{part}.parquet")
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_clone_and_parquet_files_give_the_same_folder(photos, clone, packed, tmp_path):
    photos.lay_out(clone, tmp_path / "from_clone")
    photos.lay_out(packed, tmp_path / "from_parquet")
    assert contents(tmp_path / "from_clone") == contents(tmp_path / "from_parquet")


def test_the_pipeline_lists_the_folder_with_names_and_template(photos, clone, tmp_path):
    raw = tmp_path / "photos"
    photos.lay_out(clone, raw)
    listing = list_folder(raw, held_out=0.2)
    assert listing.class_names == photos.CLASS_NAMES
    assert [item.id for item in listing.train[:3]] == [
        "train/airplane/0004.jpg", "train/airplane/0005.jpg", "train/automobile/0004.jpg"]  # fmt: skip
    assert len(listing.train) == len(listing.test) == 20
    assert folder_source(raw, held_out=0.2).template == "a photo of a {}."
    assert (raw / "test/ship/0001.jpg").read_bytes() == (clone / "test/ship/0001.jpg").read_bytes()


def test_no_photo_is_in_two_parts(monkeypatch):
    monkeypatch.syspath_prepend("data/embedded")
    import photos

    files = [(split, number) for split, numbers in photos.PARTS.values() for number in numbers]
    assert len(files) == len(set(files)) == 6000
    assert {len(numbers) for _, numbers in photos.PARTS.values()} == {4800, 200, 1000}


def test_photos_know_their_class_number_and_pixels(photos, clone):
    photo = list(photos.read_photos(clone, "train"))[-1]
    assert (photo.class_name, photo.number) == ("truck", 5)
    assert np.array_equal(photo.pixels(), np.asarray(Image.open(clone / "train/truck/0005.jpg")))


def test_a_missing_file_is_named_before_anything_is_written(photos, clone, tmp_path):
    (clone / "test/frog/0001.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 20 files are missing, test/frog/0001.jpg first; allowed are a clone"):
        photos.lay_out(clone, tmp_path / "photos")
    assert not (tmp_path / "photos").exists()


def test_an_existing_folder_is_not_overwritten(photos, clone, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="exists already; name a new folder"):
        photos.lay_out(clone, tmp_path / "photos")


def test_the_command_lays_the_folder_out(photos, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["photos.py", str(packed), str(tmp_path / "photos")])
    photos.main()
    assert json.loads((tmp_path / "photos/classes.json").read_text())["names"]["cat"] == "cat"
