"""A disk that is full at any write: one message, what lay there before is untouched, the next run is good."""

import errno
import os
from tempfile import gettempdir

import pytest

from stages.storage import files
from tests.reliability.small import ORDER, Small

WRITING = [stage for stage in ORDER if stage[0] != "fetch"]


def full_from(number: int):
    """A flush that finds the disk full once so many went well."""
    flushes = iter(range(number))

    def flush(descriptor: int) -> None:
        if next(flushes, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return flush


def whole(small: Small) -> dict[str, tuple[str, int]]:
    """Digest and inode of all files but the pieces that are kept for the next run: not even replaced by its like."""
    whole = {name: digest for name, digest in small.digests().items() if ".partial/" not in name}
    return {name: (digest, (small.folder / "data" / name).stat().st_ino) for name, digest in whole.items()}


@pytest.mark.parametrize("stage", WRITING, ids="-".join)
def test_a_disk_full_at_any_write_costs_nothing_that_was_there(small, stage, monkeypatch, record_property):
    expected, before, failures, code = small.digests(), whole(small), 0, 1
    for number in (0, 1, 2, 4, 8, 16, 32, 64, 128):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full_from(number))
            code, said = small.finish(*stage)
        if code == 0:
            break
        failures += 1
        places = ("error: data/", f"error: {gettempdir()}/") if stage[0] == "assess" else "error: data/"  # of a moment
        assert said.startswith(places) and "the disk is full" in said, said
        assert whole(small) == before
    assert code == 0 and failures > 0
    assert small.digests() == expected and small.temporary() == []
    record_property("runs that met a full disk", failures)


@pytest.mark.parametrize("stage", WRITING, ids="-".join)
def test_no_file_may_grow_further(small, stage, record_property):
    """The system's own limit on the size of a file fails every write beyond it, wherever in a library it is."""
    expected, before, failures = small.digests(), whole(small), 0
    for largest in (1, 1000, 4000):
        code, said = small.finish(*stage, largest=largest)
        if code == 0:
            continue
        failures += 1
        assert code == 1 and "larger than allowed" in said, said
        assert whole(small) == before
    assert failures > 0
    small.run(*stage)
    assert small.digests() == expected and small.temporary() == []
    record_property("runs that met a limit of file size", failures)


def test_the_copy_of_the_raw_data_is_whole_or_not_there(tmp_path):
    small = Small.at(tmp_path / "run")
    code, said = small.finish("fetch", "fashion", largest=5000)
    assert code == 1 and said.startswith("error: data/raw/fashion/train.parquet: cannot be made"), said
    assert [path for path in (small.folder / "data/raw").rglob("*") if path.is_file()] == []
    small.run("fetch", "fashion")
