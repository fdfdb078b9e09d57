"""Where shards are worked on: in this process, or by workers of a Ray cluster (`runtime.engine`); the same files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from stages.banks.files import whole
from stages.banks.images import Images, Written, read_images, shard_paths
from stages.command import progress
from stages.params import Params


class Worker(Protocol):
    """Loads a model once, then makes a file of each shard that it is shown.

    Attributes:
        facts: What the stage has to know of it, as plain data: `device`, its kind, and what else goes into provenance.
    """

    facts: dict[str, Any]

    def make(self, path: Path, piece: int, shard: Images, about: dict[str, Any]) -> None:
        """Writes the Parquet file that comes of a shard, the `piece`-th of its folder.

        Args:
            path: Where.
            piece: Its number.
            shard: The images.
            about: What the stage says of them.
        """


class Engine(Protocol):
    """Has files made by workers.

    Attributes:
        facts: Those of its workers.
    """

    facts: dict[str, Any]

    def write(
        self,
        folder: Path,
        source: Path,
        about: dict[str, Any],
        *,
        what: str,
        method: str = "make",
        chosen: Sequence[int] | None = None,
    ) -> Written:
        """Makes a file in `folder` of each shard of `source`, but for those that are there already.

        Args:
            folder: Where an interrupted run may have left files, each of them whole.
            source: A folder of shards.
            about: What the worker is told beside the shard.
            what: Name of the work, for the progress bar.
            method: Name of the worker's method, of the form of `Worker.make`.
            chosen: Which shards, ascending; None for all.

        Returns:
            How many rows these files have together, and how many of the files were kept.

        Raises:
            ValueError: If a shard is missing, damaged or of another run, or if the worker says that it cannot.
        """

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of one worker returns."""


@contextmanager
def engine(params: Params, worker: Callable[..., Worker], *arguments: Any, shards: int) -> Iterator[Engine]:
    """The engine that params.yaml names.

    Args:
        params: The parameters.
        worker: Called with the parameters and the arguments wherever a worker is wanted.
        arguments: What can be sent elsewhere.
        shards: How many there are to do at most: no more workers than that.
    """
    if params.runtime.engine == "local":
        yield Local(worker(params, *arguments))
        return
    try:
        from stages.on_ray import cluster
    except ModuleNotFoundError as error:
        raise ValueError(f"runtime.engine: {error}; pip install -e '.[ray]'") from error
    with cluster(params, worker, *arguments, shards=shards) as found:
        yield found


class Local:
    """One worker, in this process; while it is at work, a thread verifies the next shard."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.facts = worker.facts

    def write(
        self,
        folder: Path,
        source: Path,
        about: dict[str, Any],
        *,
        what: str,
        method: str = "make",
        chosen: Sequence[int] | None = None,
    ) -> Written:
        """As `Engine.write`."""
        make, rows, kept = getattr(self._worker, method), 0, 0
        chosen = range(len(shard_paths(source))) if chosen is None else chosen
        places = {index: piece for piece, index in enumerate(chosen)}
        for index, shard in progress(enumerate(read_images(source)), what=what, total=len(chosen)):
            if index in places:
                path = piece_path(folder, places[index])
                kept += path.is_file()
                if not path.is_file():
                    with whole(path) as temporary:
                        make(temporary, places[index], shard, about)
                rows += rows_of(path)
            if index == chosen[-1]:
                break
        return Written(rows, len(chosen), kept)

    def call(self, method: str, *arguments: Any) -> Any:
        """As `Engine.call`."""
        return getattr(self._worker, method)(*arguments)


def piece_path(folder: Path, piece: int) -> Path:
    """Where the `piece`-th file of a folder lies."""
    return folder / f"{piece:05d}.parquet"


def rows_of(path: Path) -> int:
    """How many rows a file has, without reading them."""
    return pq.read_metadata(path).num_rows
