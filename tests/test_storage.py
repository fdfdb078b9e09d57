"""Shards and results in a place that fsspec opens; tests/reliability/test_ray.py has a real object store."""

import pyarrow as pa
import pytest

from stages.banks.table import read_table, write_table
from stages.storage import Storage


@pytest.fixture
def storage(tmp_path) -> Storage:
    return Storage(f"file://{tmp_path}/store/")


def deliver(storage: Storage) -> None:
    with storage.delivered("result") as target:
        write_table(target, [pa.table({"id": ["x"]})], {"by": "a worker"})


def test_a_result_is_collected_once(storage, tmp_path):
    deliver(storage)
    storage.collect("result", tmp_path / "here.parquet")
    assert read_table(tmp_path / "here.parquet")[1] == {"by": "a worker"}
    assert list((tmp_path / "store/results").iterdir()) == []


def test_a_late_result_is_removed_and_one_that_never_came_is_none(storage, tmp_path):
    deliver(storage)
    storage.remove("result")
    storage.remove("result")
    assert list((tmp_path / "store/results").iterdir()) == []
