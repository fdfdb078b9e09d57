"""Shards in an object store or any other place that fsspec opens, between machines that share no disk."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.banks.files import explaining, whole
from stages.banks.images import note_count, piece_path, shard_paths
from stages.banks.table import check_table, seal_of


@dataclass(frozen=True)
class Sent:
    """A folder of shards that has been taken to the storage.

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

    def __getstate__(self) -> dict[str, str]:
        return {"_url": self._url}

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, str]]:
        """The file system and the folder's name there; whatever they raise is the user's to mend.

        Raises:
            ValueError: If the store cannot be reached, or refuses.
        """
        try:
            yield self._place
        except Exception as error:  # each store's library has errors of its own
            raise ValueError(f"runtime.storage: {self._url}: {error!r}") from error

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs  # needed by few

        return url_to_fs(self._url)

    def push(self, path: Path, seal: str) -> None:
        """Takes a shard there, under the name of its seal, unless it is there already.

        Raises:
            ValueError: If the shard is damaged.
        """
        with self._opened() as (files, folder):
            there = f"{folder}/shards/{seal}.parquet"
            if files.exists(there) and files.size(there) == path.stat().st_size:
                return
        check_table(path)
        with self._opened() as (files, folder):
            files.makedirs(f"{folder}/shards", exist_ok=True)
            files.put_file(str(path), there)

    def push_all(self, folder: Path) -> Sent:
        """Takes all shards of a folder there; raises as `push`."""
        sent = Sent(folder, [])
        for path in shard_paths(folder):
            sent.seals.append(seal_of(path))
            self.push(path, sent.seals[-1])
        return sent

    @contextmanager
    def fetched(self, seal: str) -> Iterator[Path]:
        """A copy here of the shard with a seal."""
        with TemporaryDirectory() as here:
            path = Path(here) / f"{seal}.parquet"
            self._fetch(seal, path)
            yield path

    @contextmanager
    def fetched_all(self, sent: Sent) -> Iterator[Path]:
        """A copy here of a folder; an error of the block that names it names the folder instead."""
        with TemporaryDirectory() as name:
            here = Path(name)
            for index, seal in enumerate(sent.seals):
                self._fetch(seal, piece_path(here, index))
            note_count(here, len(sent.seals))
            with naming(here, sent.folder):
                yield here

    def _fetch(self, seal: str, path: Path) -> None:
        with self._opened() as (files, folder):
            files.get_file(f"{folder}/shards/{seal}.parquet", str(path))

    @contextmanager
    def delivered(self, name: str) -> Iterator[Path]:
        """Where to write a result, which is there once the block has succeeded."""
        with TemporaryDirectory() as here:
            path = Path(here) / f"{name}.parquet"
            yield path
            with self._opened() as (files, folder):
                files.makedirs(f"{folder}/results", exist_ok=True)
                files.put_file(str(path), self._result(name))

    def collect(self, name: str, path: Path) -> None:
        """Brings a result here, unless it is here already, and removes it there.

        Raises:
            ValueError: If it arrives damaged.
        """
        if not path.is_file():
            with explaining(path), whole(path) as temporary:
                with self._opened() as (files, _):
                    files.get_file(self._result(name), str(temporary))
                check_table(temporary)
        self.remove(name)

    def remove(self, name: str) -> None:
        """Removes a result there, if there is one."""
        with self._opened() as (files, _), suppress(FileNotFoundError):
            files.rm_file(self._result(name))

    def _result(self, name: str) -> str:
        return f"{self._place[1]}/results/{name}.parquet"


@contextmanager
def naming(copy: Path, original: Path) -> Iterator[None]:
    """Lets what is wrong with a copy be said of the original."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(copy), str(original))) from error
