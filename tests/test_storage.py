"""Shards and results in a place that fsspec opens; tests/reliability/test_ray.py has a real object store."""

import errno
import shutil
import tempfile
from dataclasses import replace

import pyarrow as pa
import pytest

from stages.runtime.engine import Work
from stages.runtime.object_store import Storage, StoredFolder
from stages.storage.images import checksums_of, read_images, shard_paths, write_images
from stages.storage.parquet import read_table, write_table
from stages.storage.provenance import key_of


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
    on_ray, dispatch = pytest.importorskip("stages.runtime.on_ray"), pytest.importorskip("stages.runtime.dispatch")
    monkeypatch.chdir(tmp_path)  # an actor changes this process's folder; undone after the test
    write_images(tmp_path / "source", shard.split(2), {})
    (_, task) = dispatch.tasks_of(Work(tmp_path / "out", tmp_path / "source", {"a": 1}, "test"))
    storage.push(task.source, task.seal)
    shutil.rmtree(tmp_path / "source")
    actor = on_ray.Actor(tmp_path, CopyOfIds, (), storage)
    actor.make(key_of(CopyOfIds.facts, [], device="cpu"), replace(task, name="result"))
    assert not task.target.parent.exists()
    storage.collect("result", tmp_path / "here.parquet")
    table, about = read_table(tmp_path / "here.parquet")
    assert table["id"].to_pylist() == shard.ids[6:] and about == {"a": 1}


def test_a_result_that_is_here_is_not_fetched_again(storage, tmp_path):
    """Who collects may die before it has said so, and is asked again."""
    deliver(storage)
    storage.collect("result", tmp_path / "here.parquet")
    storage.collect("result", tmp_path / "here.parquet")


def test_a_worker_is_made_of_a_folder_elsewhere(storage, shard, tmp_path, monkeypatch):
    """As a surrogate is of all training images; errors name the folder, not the copy."""
    on_ray = pytest.importorskip("stages.runtime.on_ray")
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "train", shard.split(2), {})
    stored = StoredFolder(tmp_path / "train", checksums_of(tmp_path / "train"))
    for path, seal in zip(shard_paths(tmp_path / "train"), stored.seals, strict=True):
        storage.push(path, seal)
    shutil.rmtree(tmp_path / "train")
    actor = on_ray.Actor(tmp_path, Fitted, (stored,), storage)
    assert actor.facts()["ids"] == shard.ids
    same = key_of(actor.facts(), [], device="cpu")
    assert actor.call(same, "count", stored, 1) == 1 + len(shard)
    with pytest.raises(ValueError, match=rf"{tmp_path}/train/00000.parquet"):
        actor.call(same, "refuse", stored)


def test_a_store_that_refuses_is_named(tmp_path, shard):
    write_images(tmp_path / "source", [shard], {})
    (tmp_path / "file").touch()
    for url in (f"file://{tmp_path}/file", "nowhere://bucket"):
        with pytest.raises(ValueError, match=f"runtime.storage: {url}: "):
            Storage(url).push(tmp_path / "source/00000.parquet", "seal")


def test_a_disk_that_is_full_is_no_fault_of_the_store(storage, tmp_path, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    deliver(storage)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "get_file", full)
    with pytest.raises(ValueError, match=r"here\.parquet: cannot be made: the disk is full"):
        storage.collect("result", tmp_path / "here.parquet")
    for copy in (storage.fetched("seal"), storage.fetched_folder(StoredFolder(tmp_path, ["seal"]))):
        with pytest.raises(ValueError, match="cannot be made: the disk is full"), copy:
            pass


def test_where_no_temporary_folder_can_be_made_the_remedy_is_told(storage, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    for copy in (
        storage.fetched("seal"),
        storage.delivered("result"),
        storage.fetched_folder(StoredFolder(tmp_path, [])),
    ):
        with (
            pytest.raises(ValueError, match=r"TMPDIR: no temporary folder can be made .*gone.*; set it to a folder"),
            copy,
        ):
            pass


class Fitted:
    """Knows the ids of the shards of a folder; a worker."""

    def __init__(self, train):
        self.facts = {"device": "cpu", "ids": [id for part in read_images(train) for id in part.ids]}

    def count(self, folder, more):
        return more + sum(map(len, read_images(folder)))

    def refuse(self, folder):
        raise ValueError(f"{folder}/00000.parquet: damaged")


class CopyOfIds:
    """Writes the ids of a shard; a worker."""

    facts = {"device": "cpu"}  # noqa: RUF012

    def make(self, path, piece, shard, about):
        write_table(path, [pa.table({"id": shard.ids})], about)
