"""Files appear whole, by one run at a time; pieces of an interrupted run are gone on with, but only of the same one."""

import errno
import os
import signal
import time

import pytest

from stages.storage.files import replacing, require_writable, resuming, whole
from stages.storage.images import gather, read_all_images, write_missing, write_shard

KEY = {"attack": {"eps": 8}, "inputs": ["a"]}


def interrupted(out, key, pieces):
    """A run that makes some pieces and half of another, and fails."""
    with pytest.raises(RuntimeError), resuming(out, key) as folder:
        for piece in pieces:
            with whole(folder / piece) as temporary:
                temporary.write_text(piece)
        with whole(folder / "half") as temporary:
            temporary.write_text("ha")
            raise RuntimeError


def test_what_was_finished_is_there_for_the_same_run(tmp_path):
    out = tmp_path / "out"
    interrupted(out, KEY, ["one", "two"])
    assert not out.exists()
    with resuming(out, KEY) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["one", "two"]
        (folder / "out").write_text("whole")
    assert out.read_text() == "whole" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("other", [{**KEY, "attack": {"eps": 4}}, {**KEY, "inputs": ["b"]}, {}])
def test_another_run_finds_nothing_and_takes_nothing_away_and_halves_are_removed(tmp_path, other):
    interrupted(tmp_path / "out", KEY, ["one"])
    next(tmp_path.rglob("one")).with_name(".two.partial").write_text("ha")
    with pytest.raises(RuntimeError), resuming(tmp_path / "out", other) as folder:
        assert list(folder.iterdir()) == []
        raise RuntimeError
    with resuming(tmp_path / "out", KEY) as folder:
        assert [path.name for path in folder.iterdir()] == ["one"]
        (folder / "out").write_text("whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_shard_that_is_there_is_not_made_again(tmp_path, shard):
    made = []

    def make(path, index, part):
        made.append(index)
        write_shard(path, part)

    parts, paths = shard.split(3), [tmp_path / f"pieces/{name}.parquet" for name in "cab"]
    write_missing(paths[:2], parts[:2], make)
    written = write_missing(paths, parts, make)
    assert made == [0, 1, 2] and str(written) == "n = 12, 2 of 3 shards from an interrupted run"
    for _ in range(2):  # the second time, over what a run has left that was killed before it ended
        gather(written.paths, tmp_path / "images", {"dataset": "d"})
    assert read_all_images(tmp_path / "images").ids == shard.ids and all(path.is_file() for path in paths)


def test_a_file_system_without_hard_links_will_do(tmp_path, shard, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_shard(tmp_path / "piece.parquet", shard)
    gather([tmp_path / "piece.parquet"], tmp_path / "images", {})
    assert read_all_images(tmp_path / "images").ids == shard.ids


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    folder = tmp_path / "folder"
    for content in ("old", "new"):
        with replacing(folder) as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert [path.name for path in folder.iterdir()] == ["new"] and list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("enter", [replacing, lambda path: resuming(path, KEY), require_writable])
def test_two_runs_do_not_write_to_one_place(tmp_path, enter):
    with replacing(tmp_path / "out") as temporary:
        temporary.write_text("first")
        with pytest.raises(ValueError, match="out: another run is writing there"):
            _ = enter(tmp_path / "out").__enter__() if enter is not require_writable else enter(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "first"


def test_the_claim_of_a_killed_run_is_void(tmp_path):
    if not (pid := os.fork()):
        with replacing(tmp_path / "out") as temporary:
            temporary.write_text("half")
            (tmp_path / "begun").touch()
            time.sleep(60)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (tmp_path / "begun").unlink()
    with replacing(tmp_path / "out") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "out").read_text() == "whole" and list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ValueError, match=r"data/out: cannot be made: a folder above it is a file"):
        require_writable(tmp_path / "data/out")
