"""The embedded cuts of Fashion-MNIST."""

import shutil

import numpy as np
import pytest

from stages.datasets.embedded import FOLDER, SOURCES, content_of, copy_files, images_of, open_rows


def test_the_cuts_are_whole_and_no_two_parts_of_them_share_an_image(tmp_path):
    parts = []
    for name, source in SOURCES.items():
        source.download(tmp_path / name)
        listing, content = source.list_images(tmp_path / name), content_of(tmp_path / name)
        for items in (listing.train, listing.test):
            assert {item.label for item in items} == set(range(10)) and len(listing.class_names) == 10
            parts.append({content(item.id) for item in items})
    assert [len(part) for part in parts] == [2000, 1000, 2000, 1000]
    assert len(set.union(*parts)) == 6000


def test_a_changed_or_missing_file_is_named(tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "fashion")
    (folder / "test.parquet").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"test\.parquet: damaged or another file"):
        copy_files(tmp_path / "raw", folder)
    (folder / "train.parquet").unlink()
    with pytest.raises(ValueError, match=r"train\.parquet: missing"):
        copy_files(tmp_path / "raw", folder)


def test_a_row_opens_as_its_image_padded_in_the_middle():
    grey = np.frombuffer(content_of(FOLDER)("test/00007"), np.uint8).reshape(1, 28, 28)
    padded = images_of(grey)
    assert padded.shape == (1, 32, 32, 3)
    assert all(np.array_equal(padded[0, 2:30, 2:30, channel], grey[0]) for channel in range(3))
    assert padded.astype(int).sum() == 3 * grey.astype(int).sum()
    assert np.array_equal(np.asarray(open_rows(FOLDER)("test/00007")), padded[0])
