"""Shards in an object store or any other place that fsspec opens, between machines that share no disk."""

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.storage.files import explaining, whole
from stages.storage.images import note_count, piece_path
from stages.storage.parquet import check_table

AT_ONCE = 8  # files at most that are under way between a machine and the storage
ON_THIS_SIDE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # of a full disk: no store's fault


@dataclass(frozen=True)
class StoredFolder:
    """A folder of shards that is in the storage.

    Attributes:
        folder: Where it lies on the machine that it comes from.
        seals: Of its shards, in order.
    """

    folder: Path
    seals: list[str]


class Storage:
    """A folder in the store: `shards/` by seal, `results/` by the name of a try.

    Args:
        url: As fsspec knows it, such as `s3://bucket/folder`; the environment has the credentials.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, str]]:
        """The file system and the folder's name there; whatever they raise is the user's to mend.

        Raises:
            ValueError: If the store cannot be reached, or refuses.
        """
        try:
            from fsspec.core import url_to_fs  # needed by few; keeps the file systems that it has opened

            yield url_to_fs(self._url)
        except Exception as error:  # each store's library has errors of its own
            if isinstance(error, OSError) and error.errno in ON_THIS_SIDE:
                raise
            raise ValueError(f"runtime.storage: {self._url}: {error!r}") from error

    def push(self, path: Path, seal: str) -> None:
        """Takes a shard there, under the name of its seal, unless it is there already.

        Raises:
            ValueError: If the shard is damaged.
        """
        check_table(path)
        with self._opened() as (files, folder):
            there = f"{folder}/shards/{seal}.parquet"
            if not (files.exists(there) and files.size(there) == path.stat().st_size):
                files.makedirs(f"{folder}/shards", exist_ok=True)
                files.put_file(str(path), there)

    @contextmanager
    def fetched(self, seal: str) -> Iterator[Path]:
        """A copy here of the shard with a seal."""
        with temporary_folder() as here:
            path = here / f"{seal}.parquet"
            with explaining(path):
                self._fetch(seal, path)
            yield path

    @contextmanager
    def fetched_folder(self, stored: StoredFolder) -> Iterator[Path]:
        """A copy here of a folder; an error of the block that names it names the folder instead."""
        with temporary_folder() as here:
            paths = [piece_path(here, index) for index in range(len(stored.seals))]
            with explaining(here), ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(self._fetch, stored.seals, paths))
                note_count(here, len(stored.seals))
            with naming(here, stored.folder):
                yield here

    def _fetch(self, seal: str, path: Path) -> None:
        with self._opened() as (files, folder):
            files.get_file(f"{folder}/shards/{seal}.parquet", str(path))

    @contextmanager
    def delivered(self, name: str) -> Iterator[Path]:
        """Where to write a result, which is there once the block has succeeded."""
        with temporary_folder() as here:
            path = here / f"{name}.parquet"
            with explaining(path):
                yield path
            with self._opened() as (files, folder):
                files.makedirs(f"{folder}/results", exist_ok=True)
                files.put_file(str(path), f"{folder}/results/{name}.parquet")

    def collect(self, name: str, path: Path) -> None:
        """Brings a result here, unless it is here already, and removes it there.

        Raises:
            ValueError: If it arrives damaged.
        """
        if not path.is_file():
            with explaining(path), whole(path) as temporary:
                with self._opened() as (files, folder):
                    files.get_file(f"{folder}/results/{name}.parquet", str(temporary))
                check_table(temporary)
        self.remove(name)

    def remove(self, name: str) -> None:
        """Removes a result there, if there is one."""
        with self._opened() as (files, folder), suppress(FileNotFoundError):
            files.rm_file(f"{folder}/results/{name}.parquet")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder of the system's temporary ones, which goes with the block.

    Raises:
        ValueError: If none can be made.
    """
    try:
        folder = TemporaryDirectory()
    except OSError as error:
        raise ValueError(
            f"TMPDIR: no temporary folder can be made ({error}); set it to a folder with space that can be written to"
        ) from error
    with folder as name:
        yield Path(name)


@contextmanager
def naming(copy: Path, original: Path) -> Iterator[None]:
    """Makes a ValueError that names a copy name the original instead."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(copy), str(original))) from error
