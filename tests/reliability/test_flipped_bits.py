"""A flipped bit anywhere in any artefact is an error that names the file, in whatever stage reads it."""

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.storage.embeddings import read_bank
from stages.storage.images import read_all_images
from stages.storage.notes import read_note
from stages.storage.parquet import read_table
from stages.storage.prompts import load_prompts

FLIPS = 200  # in each file
READERS: dict[str, Callable[[Path], object]] = {
    "index/fashion.parquet": read_table,
    "cards/fashion.json": read_note,
    "clean/fashion/train/images/00003.parquet": lambda path: read_all_images(path.parent),
    "clean/fashion/train/images/shards.json": lambda path: read_all_images(path.parent),
    "clean/fashion/train/features.parquet": read_bank,
    "bank/fashion/embeddings.parquet": read_bank,
    "bank/fashion/refreshed.parquet": read_bank,
    "prompts/fashion/hand/prompts.safetensors": load_prompts,
    "prompts/fashion/advpt/prompts.safetensors": load_prompts,
    "prompts/fashion/advpt/tuning.parquet": read_table,
    "test/fashion/transfer_eps8/images/00000.parquet": lambda path: read_all_images(path.parent),
    "test/fashion/transfer_eps8/images/surrogate.json": read_note,
    "rows/fashion/clean.parquet": read_table,
    "rows/fashion/adaptive_eps4.parquet": read_table,
    "test/fashion/assessment.parquet": read_table,
    "words/fashion/words.parquet": read_table,
}
STAGES = {
    "index/fashion.parquet": ("extract", "fashion"),
    "cards/fashion.json": ("hand", "fashion"),
    "clean/fashion/train/images/00001.parquet": ("craft", "fashion"),
    "clean/fashion/train/features.parquet": ("tune", "fashion", "coop"),
    "clean/fashion/test/images/00001.parquet": ("adapt", "fashion", "adaptive_eps4"),
    "clean/fashion/train/images/00002.parquet": ("refresh", "fashion"),
    "prompts/fashion/hand/prompts.safetensors": ("refresh", "fashion"),
    "prompts/fashion/advpt_refreshed/prompts.safetensors": ("words", "fashion"),
    "clean/fashion/test/features.parquet": ("evaluate", "fashion", "clean"),
    "bank/fashion/images/00002.parquet": ("embed", "fashion"),
    "bank/fashion/embeddings.parquet": ("tune", "fashion", "advpt"),
    "prompts/fashion/advpt/prompts.safetensors": ("assess", "fashion"),
    "test/fashion/transfer_eps8/features.parquet": ("evaluate", "fashion", "transfer_eps8"),
    "rows/fashion/clean.parquet": ("plot",),
    "test/fashion/assessment.parquet": ("plot",),
    "test/fashion/transfer_eps8/images/surrogate.json": ("plot",),
}


def flipped(content: bytes, place: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.parametrize("name", READERS)
def test_44_one_bit_is_enough_for_a_reader(small, name, record_property):
    path, chance = small.folder / "data" / name, random.Random(name)
    content, read = path.read_bytes(), READERS[name]
    read(path)
    last = 8 * len(content) - 1
    for place in (0, last, *(chance.randint(0, last) for _ in range(FLIPS - 2))):
        path.write_bytes(flipped(content, place))
        with pytest.raises(ValueError, match=str(Path(name).name)):
            read(path)
    record_property("flipped bits tried and found", FLIPS)


@pytest.mark.parametrize("name", STAGES)
def test_44_one_bit_is_enough_for_a_stage(small, name):
    small.params["defences"] = {}  # the report wants rows behind each defence, of each threat
    small.write_params()
    path = small.folder / "data" / name
    content = path.read_bytes()
    path.write_bytes(flipped(content, random.Random(name).randrange(8 * len(content))))
    said = small.run(*STAGES[name], code=1)
    assert said.startswith("error: ") and f"data/{name}" in said, said


def test_the_report_is_possible_before_a_bit_is_flipped(small):
    small.params["defences"] = {}
    small.write_params()
    small.run("plot")


def test_a_raw_image_that_has_changed_since_it_was_listed_is_named(small):
    path = small.folder / "data/raw/fashion/train.parquet"
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[0] = bytes([images[0][0] ^ 1]) + images[0][1:]
    position, field = table.schema.get_field_index("image"), table.schema.field("image")
    pq.write_table(table.set_column(position, field, pa.array(images, field.type)), path, write_page_checksum=True)
    small.params["data"]["shots"] = "all"
    small.write_params()
    said = small.run("extract", "fashion", "train", code=1)
    assert "not the image that `fetch` has listed" in said and table["id"][0].as_py() in said
