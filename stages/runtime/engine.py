"""Where shards are worked on: in this process, or by workers of a Ray cluster (`runtime.engine`); the same files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from stages.runtime.cli import progress
from stages.runtime.params import Params
from stages.storage.images import Images, Written, read_images, shard_paths, write_pieces


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


@dataclass(frozen=True)
class Work:
    """A file to be made of each shard of a folder.

    Attributes:
        folder: Where the files go; an interrupted run may have left some, each of them whole.
        source: The folder of shards.
        about: What the worker is told beside a shard.
        what: Name of the work, for the progress bar.
        method: Of the worker, of the form of `Worker.make`.
        chosen: Which shards, ascending; None for all.
    """

    folder: Path
    source: Path
    about: dict[str, Any]
    what: str
    method: str = "make"
    chosen: Sequence[int] | None = None

    @property
    def indices(self) -> Sequence[int]:
        """The shards that are chosen."""
        return range(len(shard_paths(self.source))) if self.chosen is None else self.chosen


@dataclass(frozen=True)
class ShardFolder:
    """An argument for a worker that needs all shards of a folder: it gets a path that is valid during the call.

    Attributes:
        path: The folder, on the disk of the driver.
    """

    path: Path


def as_paths(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Arguments for a worker that sees the disk of the driver."""
    return tuple(one.path if isinstance(one, ShardFolder) else one for one in arguments)


class Engine(Protocol):
    """Has files made by workers.

    Attributes:
        facts: Those of its workers.
    """

    facts: dict[str, Any]

    def write(self, work: Work) -> Written:
        """Makes the files of some work, but for those that are there already.

        Returns:
            How many rows these files have together, and how many of the files were kept.

        Raises:
            ValueError: If a shard is missing, damaged or of another run, or if the worker says that it cannot.
        """

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of one worker returns; an argument may be a `ShardFolder`."""


@contextmanager
def engine(params: Params, worker: Callable[..., Worker], *arguments: Any, shards: int) -> Iterator[Engine]:
    """The engine that params.yaml names.

    Args:
        params: The parameters.
        worker: Called with the parameters and the arguments wherever a worker is wanted.
        arguments: What can be sent elsewhere; folders of shards as `ShardFolder`.
        shards: How many there are to do at most: no more workers than that.
    """
    if params.runtime.engine == "local":
        yield Local(worker(params, *as_paths(arguments)))
        return
    try:
        from stages.runtime.on_ray import cluster
    except ImportError as error:
        if (error.name or "").startswith("stages"):
            raise
        raise ValueError(
            f"runtime.engine: ray needs the package Ray, which cannot be imported ({error}); run "
            "pip install -e '.[ray]', or set runtime.engine to local"
        ) from error
    with cluster(params, worker, *arguments, shards=shards) as found:
        yield found


class Local:
    """One worker, in this process; while it is at work, a thread verifies the next shard."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.facts = worker.facts

    def write(self, work: Work) -> Written:
        """As `Engine.write`."""
        make = partial(getattr(self._worker, work.method), about=work.about)
        shards = progress(chosen_shards(work), what=work.what, total=len(work.indices))
        return write_pieces(work.folder, shards, make)

    def call(self, method: str, *arguments: Any) -> Any:
        """As `Engine.call`."""
        return getattr(self._worker, method)(*as_paths(arguments))


def chosen_shards(work: Work) -> Iterator[Images]:
    """The shards of some work; behind the last of them nothing is read."""
    chosen = work.indices
    for index, shard in enumerate(read_images(work.source)):
        if index in chosen:
            yield shard
        if index == chosen[-1]:
            return
