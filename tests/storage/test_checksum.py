"""Checksums follow the content of a table, and nothing else."""

import pyarrow as pa
import pytest

from stages.storage.checksum import TableChecksum, reading
from stages.storage.parquet import checksum_of, read_table, write_table

TABLE = pa.table(
    {
        "text": ["a", "bc", None, "", "ü"],
        "bytes": pa.array([b"ab", b"cd", b"ef", None, b"\0\0"], pa.binary(2)),
        "number": [1.5, -0.0, None, float("nan"), 2.0],
        "flag": [True, False, None, True, False],
        "vector": pa.array([[1, 2], [3, 4], None, [5, 6], [7, 8]], pa.list_(pa.float32(), 2)),
        "nothing": pa.nulls(5),
    }
)


def checksum(*parts: pa.Table, **about: object) -> str:
    whole = TableChecksum()
    for part in parts:
        whole.update(part)
    return whole.hexdigest(about)


@pytest.mark.parametrize("cut", range(6))
def test_it_does_not_depend_on_where_parts_end(cut):
    assert checksum(TABLE.slice(0, cut), TABLE.slice(cut)) == checksum(TABLE)


def test_it_survives_the_way_to_the_disk(tmp_path):
    write_table(tmp_path / "table.parquet", [TABLE.slice(0, 2), TABLE.slice(2)], {"a": "ü"})
    found, about = read_table(tmp_path / "table.parquet")
    assert found.slice(0, 3).equals(TABLE.slice(0, 3)) and about == {"a": "ü"}
    assert checksum_of(tmp_path / "table.parquet") == checksum(TABLE, a="ü")


@pytest.mark.parametrize("name", TABLE.column_names[:-1])
@pytest.mark.parametrize("order", [[0, 1, 3, 2, 4], [4, 1, 2, 3, 0]])
def test_it_changes_with_each_column(name, order):
    changed = TABLE.set_column(TABLE.column_names.index(name), name, TABLE[name].take(pa.array(order)))
    assert checksum(changed) != checksum(TABLE)


def test_it_tells_apart_what_would_be_the_same_bytes():
    alike = [
        pa.table({"a": ["ab", "c"]}),
        pa.table({"a": ["a", "bc"]}),
        pa.table({"b": ["a", "bc"]}),
        pa.table({"a": pa.array([b"ab", b"cd"], pa.binary(2))}),
        pa.table({"a": [0, 0]}),
        pa.table({"a": [0.0, 0.0]}),
        pa.table({"a": [None, None]}),
        pa.table({"a": pa.array([[0, 0], [0, 0]], pa.list_(pa.int64(), 2))}),
        pa.table({"a": pa.array([[0], [0], [0], [0]], pa.list_(pa.int64(), 1))}),
    ]
    assert len({checksum(table) for table in alike}) == len(alike)
    assert checksum(TABLE, eps=4) != checksum(TABLE, eps=8)


def test_a_kind_of_column_that_has_no_checksum_is_refused():
    with pytest.raises(ValueError, match="there is no checksum for columns of list"):
        checksum(pa.table({"a": [[1], []]}))


@pytest.mark.parametrize(
    "error",
    [
        pa.ArrowMemoryError("malloc of size 10240 failed"),
        pa.ArrowException("Unknown error: Failed to launch worker thread: Resource temporarily unavailable"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_no_damage(tmp_path, error):
    (tmp_path / "file").write_bytes(b"whole")
    with pytest.raises(type(error)) as caught, reading(tmp_path / "file"):
        raise error
    assert caught.value is error
