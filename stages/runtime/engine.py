"""Run a function on every shard of a folder: in this process, or on the workers of a Ray cluster (`runtime.engine`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stages.runtime.cli import progress
from stages.runtime.params import Params
from stages.storage.images import Images, Written, checksums_of, read_shard, result_paths, shard_path, write_missing
from stages.storage.provenance import Provenance


@dataclass(frozen=True)
class WorkerFacts:
    """Facts about its workers that a stage has to know."""

    device: str  # kind of device on which they compute
    model: dict[str, str | None] = field(default_factory=dict)  # fingerprint of their CLIP; empty if they have none
    provenance: Provenance = field(default_factory=dict)  # what they add to that of what they make
    note: str = ""  # text for the closing line of the stage


class Worker(Protocol):
    """An object that loads a model once and then works on shard after shard."""

    facts: WorkerFacts


# Writes a Parquet file about a shard: (worker, path of the file, index of the file in its folder, shard).
# Methods of a worker class will do, with `functools.partial` for further arguments.
ShardFunction = Callable[[Any, Path, int, Images], None]


@dataclass(frozen=True)
class ShardFolder:
    """An argument of a worker: the worker gets the path of a folder with the same shards, valid during the call."""

    path: Path


class Engine(Protocol):
    """Runs functions on workers."""

    facts: WorkerFacts  # facts of the workers, which are all alike

    def map(
        self, function: ShardFunction, source: Path, folder: Path, *, what: str, chosen: Sequence[int] | None = None
    ) -> Written:
        """Write one file for each shard of a folder, named by the shard's checksum; files that exist already are kept.

        Args:
            function: Writes one of the files.
            source: Folder of the shards.
            folder: Folder of the files.
            what: Name of the work, for the progress bar.
            chosen: Indices of the shards to work on, ascending; None for all.

        Returns:
            The number of rows of these files, and how many of the files were kept.

        Raises:
            ValueError: If a shard is missing, damaged or of another run, or if the function raises it.
        """

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return `function(worker, *arguments)` of one worker; an argument may be a `ShardFolder`."""


@contextmanager
def engine(params: Params, make_worker: Callable[..., Worker], *arguments: Any, shards: int) -> Iterator[Engine]:
    """Yield the engine that params.yaml names.

    Args:
        params: The parameters.
        make_worker: Called as `make_worker(params, *arguments)` in each process that works.
        arguments: What can be pickled; folders of shards as `ShardFolder`.
        shards: Number of shards to work on, the largest useful number of workers.
    """
    if params.runtime.engine == "local":
        yield Local(make_worker(params, *as_paths(arguments)))
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
    with cluster(params, make_worker, *arguments, shards=shards) as found:
        yield found


class Local:
    """One worker, in this process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.facts = worker.facts

    def map(
        self, function: ShardFunction, source: Path, folder: Path, *, what: str, chosen: Sequence[int] | None = None
    ) -> Written:
        indices, checksums = indices_of(source, chosen), checksums_of(source)

        def make(path: Path, position: int, index: int) -> None:
            function(self._worker, path, position, read_shard(shard_path(source, index), checksums[index]))

        shards = progress(indices, what=what, total=len(indices))
        return write_missing(result_paths(folder, source, indices), shards, make)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self._worker, *as_paths(arguments))


def as_paths(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Replace each `ShardFolder` by its path."""
    return tuple(one.path if isinstance(one, ShardFolder) else one for one in arguments)


def indices_of(source: Path, chosen: Sequence[int] | None) -> Sequence[int]:
    """Return the indices of the chosen shards of a folder; of all shards for None."""
    return range(len(checksums_of(source))) if chosen is None else chosen
