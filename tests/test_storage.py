"""Shards and results in a place that fsspec opens; tests/reliability/test_ray.py has a real object store."""

import shutil
from dataclasses import replace

import pyarrow as pa
import pytest

from stages.banks.images import write_images
from stages.banks.provenance import key_of
from stages.banks.table import read_table, write_table
from stages.engine import Work
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


def test_a_worker_needs_nothing_but_the_storage(storage, shard, tmp_path, monkeypatch):
    """What it is to read and where it is to write do not exist where it runs."""
    on_ray, dispatch = pytest.importorskip("stages.on_ray"), pytest.importorskip("stages.dispatch")
    monkeypatch.chdir(tmp_path)  # an actor changes this process's folder; undone after the test
    write_images(tmp_path / "source", shard.split(2), {})
    (_, task) = dispatch.tasks_of(Work(tmp_path / "out", tmp_path / "source", {"a": 1}, "test"))
    storage.push(task.source, task.seal)
    shutil.rmtree(tmp_path / "source")
    actor = on_ray.Actor(tmp_path, CopyOfIds, storage)
    actor.make(key_of(CopyOfIds.facts, [], device="cpu"), replace(task, name="result"))
    assert not task.target.parent.exists()
    storage.collect("result", tmp_path / "here.parquet")
    table, about = read_table(tmp_path / "here.parquet")
    assert table["id"].to_pylist() == shard.ids[6:] and about == {"a": 1}


class CopyOfIds:
    """Writes the ids of a shard; a worker."""

    facts = {"device": "cpu"}  # noqa: RUF012

    def make(self, path, piece, shard, about):
        write_table(path, [pa.table({"id": shard.ids})], about)
