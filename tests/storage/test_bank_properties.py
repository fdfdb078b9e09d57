"""Banks and images come back as they were: any ids, any finite numbers, any row groups."""

import shutil

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from stages.storage.embeddings import Bank, read_bank, write_bank
from stages.storage.images import Images, images_provenance, read_images, write_images

any_case = settings(max_examples=60, deadline=None, derandomize=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts | st.sampled_from(["", '"', "'", "\\", "\0", "a,b\n", "ü", "日本", "🙂", "../x", "NaN", "null"])
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
shapes = array_shapes(min_dims=2, max_dims=2, max_side=4)
labels = st.integers(-(2**63), 2**63 - 1)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | names, lambda v: st.lists(v, max_size=3), max_leaves=5
)
abouts = st.dictionaries(names, values, max_size=4)


@st.composite
def banks(draw, width: int) -> Bank:
    count = draw(st.integers(1, 5))
    ids = draw(st.lists(names, min_size=count, max_size=count))
    of_rows = draw(st.lists(labels, min_size=count, max_size=count))
    return Bank(ids, np.array(of_rows, np.int64), draw(arrays(np.float32, (count, width), elements=floats)))


@st.composite
def shards(draw, shape: tuple[int, int]) -> Images:
    bank = draw(banks(1))
    pixels = draw(arrays(np.uint8, (len(bank.ids), *shape, 3)))
    return Images(bank.ids, bank.labels, pixels)


@any_case
@given(st.integers(1, 6).flatmap(lambda width: st.lists(banks(width), min_size=1, max_size=4)), abouts)
def test_a_bank_comes_back_bit_by_bit_from_any_number_of_row_groups(tmp_path_factory, parts, about):
    path = tmp_path_factory.getbasetemp() / "bank.parquet"
    write_bank(path, parts, about)
    bank, found = read_bank(path)
    assert found == about
    assert bank.ids == [id for part in parts for id in part.ids]
    assert bank.labels.tolist() == [label for part in parts for label in part.labels.tolist()]
    assert bank.embeddings.tobytes() == b"".join(part.embeddings.tobytes() for part in parts)  # -0.0, too
    assert pq.ParquetFile(path).num_row_groups == len(parts)


@any_case
@given(shapes.flatmap(lambda shape: st.lists(shards(shape), min_size=1, max_size=4)), abouts)
def test_images_come_back_bit_by_bit_shard_by_shard(tmp_path_factory, parts, about):
    folder = tmp_path_factory.getbasetemp() / "images"
    shutil.rmtree(folder, ignore_errors=True)
    write_images(folder, iter(parts), about)
    for found, part in zip(read_images(folder), parts, strict=True):
        assert found.ids == part.ids and found.labels.tolist() == part.labels.tolist()
        assert found.pixels.shape == part.pixels.shape and found.pixels.tobytes() == part.pixels.tobytes()
    assert images_provenance(folder).items() >= (about.items() if "shape" not in about else set())
