"""Files appear whole or not at all: written under another name, flushed to disk, renamed; by one run at a time."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from stages.storage.checksum import checksum_of_json

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file would be larger than allowed (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.ENOTDIR: "a folder above it is a file",
    errno.EEXIST: "a folder above it is a file",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder that takes the place of `path` when the block succeeds.

    Raises:
        ValueError: If the disk is full, the place is read-only, or another run is writing there.
    """
    with claiming(path) as partial:
        remove(partial)
        try:
            yield partial
            flush(partial)
            put(partial, path)
        finally:
            remove(partial)


@contextmanager
def resuming(path: Path, key: dict[str, Any]) -> Iterator[Path]:
    """Yield a folder for the pieces of what will take the place of `path`; finished pieces outlive a failed run.

    What the block makes there under the name of `path`, by `whole`, takes its place when the block succeeds, and all
    pieces go. When it fails or is killed, they stay, and the next run with the same key finds them; a run with another
    key has a folder of its own. At the end nothing is written but names, so that of several such blocks around one
    body all succeed or none.

    Args:
        path: A file or a folder.
        key: All that decides about the pieces but is not in their names, as JSON knows it.
    """
    with claiming(path) as work:
        folder = work / checksum_of_json(key)[:16]
        folder.mkdir(parents=True, exist_ok=True)
        remove_halves(folder)
        yield folder
        remove_halves(folder)
        put(folder / path.name, path)
        remove(work)


def remove_halves(folder: Path) -> None:
    """Remove what `whole` has not finished."""
    for half in list(folder.rglob(".*.partial")):
        remove(half)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file inside `resuming`, which is there once it is whole, whoever else makes it."""
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        flush(partial)
        put(partial, path)
    finally:
        remove(partial)


@contextmanager
def claiming(path: Path) -> Iterator[Path]:
    """Keep other runs away from `path` and yield a name beside it; say why if nothing can be written there."""
    lock = path.with_name(f".{path.name}.lock.partial")
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            try:
                yield path.with_name(f".{path.name}.partial")
            finally:
                remove(lock)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk, of a read-only place and of another run into the user's."""
    try:
        yield
    except Timeout:
        raise ValueError(f"{path}: another run is writing there; wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in REASONS:
            raise
        where = f" at {error.filename}" if error.filename else ""
        raise ValueError(
            f"{path}: cannot be made: {REASONS[error.errno]}{where}; nothing half-written stays"
        ) from error


def require_writable(*paths: Path) -> None:
    """Try before any work whether something could be written to these places; raise as `replacing` does."""
    for path in paths:
        with claiming(path):
            pass


def put(partial: Path, path: Path) -> None:
    """Rename a finished file or folder, in the place of an older one."""
    if path.is_dir():
        remove(path)
    partial.replace(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Make sure that a file, or all files of a folder, are on the disk."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
