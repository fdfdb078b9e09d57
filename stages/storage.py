"""Shards in an object store or any other place that fsspec opens, between machines that share no disk."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.banks.files import whole
from stages.banks.table import check_table


class Storage:
    """A folder in the store: `shards/` by seal, `results/` by the name of a try.

    Args:
        url: As fsspec knows it, such as `s3://bucket/folder`; the environment has the credentials.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs  # needed by few

        return url_to_fs(self._url)

    def __getstate__(self) -> dict[str, str]:
        return {"_url": self._url}

    def push(self, path: Path, seal: str) -> None:
        """Takes a shard there, under the name of its seal, unless it is there already.

        Raises:
            ValueError: If the shard is damaged.
        """
        files, folder = self._place
        there = f"{folder}/shards/{seal}.parquet"
        if not (files.exists(there) and files.size(there) == path.stat().st_size):
            check_table(path)
            files.makedirs(f"{folder}/shards", exist_ok=True)
            files.put_file(str(path), there)

    @contextmanager
    def fetched(self, seal: str) -> Iterator[Path]:
        """A copy here of the shard with a seal."""
        files, folder = self._place
        with TemporaryDirectory() as here:
            path = Path(here) / f"{seal}.parquet"
            files.get_file(f"{folder}/shards/{path.name}", str(path))
            yield path

    @contextmanager
    def delivered(self, name: str) -> Iterator[Path]:
        """Where to write a result, which is there once the block has succeeded."""
        files, folder = self._place
        with TemporaryDirectory() as here:
            path = Path(here) / f"{name}.parquet"
            yield path
            files.makedirs(f"{folder}/results", exist_ok=True)
            files.put_file(str(path), self._result(name))

    def collect(self, name: str, path: Path) -> None:
        """Brings a result here and removes it there.

        Raises:
            ValueError: If it arrives damaged.
        """
        files, _ = self._place
        with whole(path) as temporary:
            files.get_file(self._result(name), str(temporary))
            check_table(temporary)
        self.remove(name)

    def remove(self, name: str) -> None:
        """Removes a result there, if there is one."""
        files, _ = self._place
        with suppress(FileNotFoundError):
            files.rm_file(self._result(name))

    def _result(self, name: str) -> str:
        return f"{self._place[1]}/results/{name}.parquet"
