"""What damaged headers can do to the decoder, beside what tests/test_fuzz.py finds by chance."""

import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from stages.datasets.decode import decode
from tests.fuzz.images import encoded, whole_images

TIFFS = whole_images()["TIFF"]
ORIENTATION = 274  # a tag that says nothing of the pixels
DAMAGE = {"count": (0, 0, 2**20), "tag": (0x4000, 0, 0), "type": (0, 1, 0), "unknown type": (0, 16, 0)}


@pytest.mark.filterwarnings("ignore:Tag data larger")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_tiff_that_lost_a_tag_is_refused_or_has_all_its_pixels(tmp_path, damage):
    """Pillow takes what is missing for its default, and one kind of pixel for another."""
    path = tmp_path / "image.tif"
    for whole in TIFFS:
        path.write_bytes(whole)
        expected = np.asarray(decode(path))
        (start,) = struct.unpack("<L", whole[4:8])
        (entries,) = struct.unpack("<H", whole[start : start + 2])
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            fields = struct.unpack("<HHL", whole[place : place + 8])
            changed = struct.pack("<HHL", *(old ^ new for old, new in zip(fields, DAMAGE[damage], strict=True)))
            path.write_bytes(whole[:place] + changed + whole[place + 8 :])
            try:
                found = np.asarray(decode(path))
            except ValueError as error:
                assert str(path) in str(error)
            else:
                assert fields[0] == ORIENTATION or np.array_equal(found, expected), fields


@pytest.mark.parametrize("length", [2**31 - 1, 2**30, 2**32 - 1])
def test_a_png_that_states_a_long_chunk_sets_no_memory_aside(tmp_path, length):
    content = bytearray(encoded(Image.new("RGB", (24, 20)), "PNG"))
    end = content.index(b"IEND") - 4
    content[end : end + 8] = struct.pack(">I", length) + b"IDAT"
    (tmp_path / "image.png").write_bytes(content)
    tracemalloc.start()
    try:
        decode(tmp_path / "image.png")
    except ValueError as error:
        assert "image.png" in str(error)
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 2**20
