"""A flipped bit anywhere in any artefact is an error that names the file, or changes nothing that is read."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.storage import layout
from stages.storage.notes import read_note
from stages.storage.parquet import read_table
from stages.storage.prompts import ENTRY
from stages.storage.tensors import load_arrays

FLIPS = 100  # in each file
STAGES = {
    layout.index_file("fashion"): ("extract", "fashion"),
    layout.clean_images("fashion", "train") / "00001.parquet": ("craft", "fashion"),
    layout.bank_features("fashion"): ("tune", "fashion", "all", "tune_bank", "advpt"),
}


def content_of(path: Path) -> object:
    """What a file holds, as plain values."""
    if path.suffix == ".parquet":
        table, provenance = read_table(path)
        return table.to_pylist(), provenance
    if path.suffix == ".safetensors":
        arrays, about = load_arrays(path, entry=ENTRY)
        return {name: (array.dtype, array.tolist()) for name, array in arrays.items()}, about
    return read_note(path)


def flipped(content: bytes, place: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.parametrize("suffix", ["parquet", "safetensors", "json"])
def test_a_reader_refuses_the_file_or_reads_what_was_written(small, suffix, record_property):
    chance, found = random.Random(suffix), []
    for path in sorted((small.folder / "data").rglob(f"*.{suffix}")):
        if {"embedded", "raw"} & set(path.parts):
            continue
        content, expected = path.read_bytes(), content_of(path)
        last = 8 * len(content) - 1
        for place in (0, last, *(chance.randint(0, last) for _ in range(FLIPS - 2))):
            path.write_bytes(flipped(content, place))
            try:
                np.testing.assert_equal(content_of(path), expected)  # NaN equals itself
                found.append(False)
            except ValueError as error:
                assert str(path) in str(error)
                found.append(True)
        path.write_bytes(content)
    assert sum(found) > 0.9 * len(found) > 0
    record_property("flipped bits tried", len(found))
    record_property("flipped bits refused", sum(found))


@pytest.mark.parametrize("name", STAGES, ids=str)
def test_a_stage_names_a_damaged_input(small, name):
    path = small.folder / name
    content = path.read_bytes()
    path.write_bytes(flipped(content, 4 * len(content)))
    said = small.run(*STAGES[name], code=1)
    assert said.startswith("error: ") and str(name) in said, said


def test_a_raw_image_that_has_changed_since_it_was_listed_is_named(small):
    path = small.folder / layout.raw_folder("fashion") / "train.parquet"
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[0] = bytes([images[0][0] ^ 1]) + images[0][1:]
    position, field = table.schema.get_field_index("image"), table.schema.field("image")
    pq.write_table(table.set_column(position, field, pa.array(images, field.type)), path, write_page_checksum=True)
    small.params["data"]["shots"] = "all"
    small.write_params()
    said = small.run("extract", "fashion", "train", code=1)
    assert "not the image that `fetch` has listed" in said and table["id"][0].as_py() in said
