"""Files of more bytes than any image of the allowed number of pixels needs are refused before they are read."""

import os

import pytest
from PIL import Image

from stages.datasets.decode import LARGEST, LARGEST_FILE, decode, read_content


def lengthened(path, size):
    """An image with a hole behind it, which takes no room on the disk."""
    Image.new("RGB", (16, 16), "red").save(path, "PNG")
    os.truncate(path, size)


@pytest.mark.parametrize("size", [LARGEST_FILE + 1, 10 * 2**30])
def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path, monkeypatch, size):
    lengthened(tmp_path / "large.png", size)
    for module in ("builtins", "io"):
        monkeypatch.setattr(f"{module}.open", lambda *_, **__: pytest.fail("the file was opened"))
    told = rf"large\.png: .*\({size} bytes; at most {LARGEST_FILE} are allowed\)"
    with pytest.raises(ValueError, match=told):
        decode(tmp_path / "large.png")
    with pytest.raises(ValueError, match=told):
        read_content(tmp_path, "large.png")


def test_a_file_of_just_as_many_bytes_is_decoded(tmp_path):
    lengthened(tmp_path / "large.png", LARGEST_FILE)
    assert decode(tmp_path / "large.png").getpixel((0, 0)) == (255, 0, 0)


def test_the_bulkiest_image_of_as_many_pixels_as_are_allowed_is_let_through():
    """Three numbers a pixel, each of three digits and a space; 16 bits as bytes, with alpha, take less."""
    assert LARGEST * max(3 * len("255 "), 4 * 2) < LARGEST_FILE
