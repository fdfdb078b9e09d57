"""The engine on a Ray cluster: one actor per GPU, or per `runtime.actor_cpus` CPU cores.

Shards and results travel through Ray's object store, so the machines need no shared disk, only the project under the
same path. The driver reads every shard and writes every result. Actors that die are replaced, and their shards are
made again; whoever makes a shard, its bytes are the same.
"""

import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from stages.runtime.cli import progress
from stages.runtime.engine import ShardFolder, ShardFunction, Worker, WorkerFacts, indices_of
from stages.runtime.params import Params
from stages.runtime.ray_cluster import connect
from stages.storage.files import explaining, whole
from stages.storage.images import (
    Images,
    Written,
    checksums_of,
    read_images,
    read_shard,
    result_paths,
    rows_of,
    shard_paths,
)
from stages.storage.provenance import Provenance, key_of

ATTEMPTS = 6  # actors that may die of one task
AHEAD = 2  # tasks that an actor has at a time, so that it need not wait for the next one
PATIENCE = 60.0  # seconds without an actor before a message says that the cluster seems to be full
LOST = (RayActorError, ObjectLostError)  # an actor, its machine, or a result on that machine is gone


@dataclass(frozen=True)
class SentFolder:
    """A folder of shards in Ray's object store: the content of its files by name."""

    files: dict[str, ray.ObjectRef]


class Task(NamedTuple):
    """A call of `Actor.run`."""

    name: str  # for error messages
    arguments: Callable[[], tuple[Any, ...]]  # called when an actor is free, so that few shards are in memory
    position: int = 0  # of the file that is made, in its folder


class Actor:
    """A process of the cluster that holds one worker."""

    def start(
        self, root: Path, make_worker: Callable[..., Worker], *arguments: Any
    ) -> tuple[str, WorkerFacts, Provenance]:
        """Load the worker.

        Args:
            root: The project's folder.
            make_worker: Called with the arguments.
            arguments: What can be pickled; a `SentFolder` becomes a path.

        Returns:
            The machine's name, the worker's facts, and all that has to be the same for every worker (`key_of`).

        Raises:
            ValueError: If the worker cannot be loaded; the message names the machine unless the user is at fault.
        """
        try:
            os.chdir(root)
            with received(arguments) as here:
                self._worker = make_worker(*here)
            facts = self._worker.facts
            return socket.gethostname(), facts, key_of(asdict(facts), [], device=facts.device)
        except ValueError:
            raise
        except Exception as error:  # whatever is wrong with a machine, the user has to know with which
            raise ValueError(f"{socket.gethostname()}: a worker cannot start there: {error!r}") from error

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with received(arguments) as here:
            return function(self._worker, *here)


def content_of_file(worker: Worker, function: ShardFunction, position: int, shard: Images) -> bytes:
    """Return the content of the file that a function writes about a shard."""
    with TemporaryDirectory() as folder, explaining(Path(folder)):
        path = Path(folder, "result.parquet")
        function(worker, path, position, shard)
        return path.read_bytes()


@contextmanager
def received(arguments: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield arguments in which each `SentFolder` is the path of a copy on this machine."""
    with TemporaryDirectory() as name:
        here = list(arguments)
        for number, argument in enumerate(here):
            if isinstance(argument, SentFolder):
                here[number] = Path(name, str(number))
                here[number].mkdir()
                for file, content in argument.files.items():
                    (here[number] / file).write_bytes(ray.get(content))
        yield here


@contextmanager
def cluster(params: Params, make_worker: Callable[..., Worker], *arguments: Any, shards: int) -> Iterator["OnRay"]:
    """Connect to the cluster of RAY_ADDRESS, or start one on this machine, and start actors there.

    Raises:
        ValueError: If there is no such cluster or no place in it, or if a worker cannot be loaded.
    """
    connect()
    try:
        yield OnRay(params, make_worker, *arguments, shards=shards)
    finally:
        ray.shutdown()


class OnRay:
    """As `engine.Engine`; arguments as for `cluster`.

    An actor that dies is replaced by a new one, rather than restarted by Ray: if its machine is gone for good, the
    restart waits for a place, and with it all calls that the actor was given, although others are free.
    """

    def __init__(self, params: Params, make_worker: Callable[..., Worker], *arguments: Any, shards: int) -> None:
        runtime = params.runtime
        gpus, places = places_of(runtime.device, runtime.actor_cpus)
        if not places:
            raise ValueError(f"runtime.actor_cpus: no machine of the Ray cluster has {runtime.actor_cpus} CPUs")
        if not gpus:
            params = params.with_runtime({"workers": runtime.workers or runtime.actor_cpus})
        self._actor_class = ray.remote(Actor).options(
            num_gpus=int(gpus), num_cpus=1 if gpus else runtime.actor_cpus, max_restarts=0, max_task_retries=0
        )
        self._arguments = Path.cwd(), ray.put(partial(make_worker, params)), *sent(arguments)
        self._actors: list[Any] = []  # with a loaded worker
        self._starting: dict[ray.ObjectRef, Any] = {}
        self._deaths = 0  # of actors that were starting, since one has started
        self._key: Provenance | None = None
        self._most = min(places, max(shards, 1))
        for _ in range(self._most):
            self._start()
        while not self._actors:
            self._first_answer({})

    def map(
        self, function: ShardFunction, source: Path, folder: Path, *, what: str, chosen: Sequence[int] | None = None
    ) -> Written:
        paths, checksums, indices = shard_paths(source), checksums_of(source), indices_of(source, chosen)
        targets = result_paths(folder, source, indices)
        shared = ray.put(function)

        def arguments(position: int) -> tuple[Any, ...]:
            index = indices[position]
            return content_of_file, shared, position, read_shard(paths[index], checksums[index])

        tasks = [
            Task(str(paths[index]), partial(arguments, position), position)
            for position, index in enumerate(indices)
            if not targets[position].is_file()
        ]
        for task, content in progress(self._results(tasks), what=what, total=len(tasks)):
            target = targets[task.position]
            with explaining(target), whole(target) as temporary:
                temporary.write_bytes(content)
        return Written(sum(map(rows_of, targets)), targets, len(targets) - len(tasks))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        call = function, *sent(arguments)
        ((_, result),) = self._results([Task(function.__name__, lambda: call)])
        return result

    def _results(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Any]]:
        """Yield each task with its result, as soon as there is one.

        Raises:
            ValueError: If a task raised one, or if one actor after the other has died of it.
        """
        waiting, deaths = deque(tasks), Counter[str]()
        running: dict[ray.ObjectRef, tuple[Any, Task]] = {}  # in the order in which they were given
        while waiting or running:
            for actor in self._free(running)[: len(waiting)]:
                task = waiting.popleft()
                running[actor.run.remote(*task.arguments())] = actor, task
            if not (reference := self._first_answer(running)):
                continue
            actor, task = running[reference]
            try:
                result = answer(reference)
            except LOST as error:
                lost = {ref: other for ref, (owner, other) in running.items() if owner is actor}
                culprit, *_ = lost.values()  # an actor works on its tasks in turn: the others only waited
                deaths[culprit.name] += 1
                if deaths[culprit.name] == ATTEMPTS:
                    raise ValueError(died_too_often(culprit.name, error)) from error
                waiting.extend(lost.values())
                running = {ref: given for ref, given in running.items() if ref not in lost}
                self._replace(actor)
            else:
                del running[reference]
                yield task, result

    def _free(self, running: dict[ray.ObjectRef, tuple[Any, Task]]) -> list[Any]:
        """Return the actors that can take another task, those first that have none, and twice if they can take two."""
        given = Counter(actor for actor, _ in running.values())
        return [actor for count in range(AHEAD) for actor in self._actors if given[actor] <= count]

    def _start(self) -> None:
        """Start an actor; `_first_answer` notices when its worker is loaded."""
        actor: Any = self._actor_class.remote()
        self._starting[actor.start.remote(*self._arguments)] = actor

    def _replace(self, actor: Any) -> None:
        """Start another actor in place of a dead one."""
        ray.kill(actor)  # it may live, where only its machine's network failed
        self._actors.remove(actor)
        self._start()

    def _first_answer(self, running: dict[ray.ObjectRef, Any]) -> ray.ObjectRef | None:
        """Wait for one answer of an actor and return its reference; None if it was about a start, or there was none.

        Raises:
            ValueError: If a worker cannot be loaded, or is not like the others.
        """
        ready, _ = ray.wait([*running, *self._starting], timeout=PATIENCE)
        if not ready and not self._actors:
            print("waiting for a worker of the Ray cluster: is it full?", file=sys.stderr)
        if not ready or ready[0] in running:
            return ready[0] if ready else None
        actor = self._starting.pop(ready[0])
        try:
            machine, facts, key = answer(ready[0])
        except LOST as error:
            self._deaths += 1
            if self._deaths == ATTEMPTS * self._most:
                raise ValueError(died_too_often("runtime.engine: a worker that starts", error)) from error
            self._start()
            return None
        if self._key is None:
            self.facts, self._key = facts, key
        if differ := [name for name in key if key[name] != self._key[name]]:
            raise ValueError(f"{machine}: {', '.join(differ)} differ from those of the first worker")
        self._deaths = 0
        self._actors.append(actor)
        return None


def sent(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Replace each folder of shards by its content in Ray's object store.

    Raises:
        ValueError: If a shard is damaged or of another run.
    """

    def send(folder: Path) -> SentFolder:
        for _ in read_images(folder):
            pass  # verifies every shard here, where an error can name it
        return SentFolder({path.name: ray.put(path.read_bytes()) for path in folder.iterdir()})

    return tuple(send(one.path) if isinstance(one, ShardFolder) else one for one in arguments)


def answer(reference: ray.ObjectRef) -> Any:
    """Return what a call of an actor returned.

    Raises:
        ValueError: If the call raised one, or if the actor's process cannot be set up.
        RayActorError: If the actor died.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, ValueError):
            raise ValueError(str(error.cause)) from error
        raise
    except RayActorError as error:
        if getattr(error, "actor_init_failed", False):
            raise ValueError(f"runtime.engine: a worker cannot start: {error}") from error
        raise


def died_too_often(what: str, error: Exception) -> str:
    """Return the message about a task of which one actor after the other has died."""
    return f"{what}: its process has died {ATTEMPTS} times; Ray's logs say why ({error})"


def places_of(device: str, cpus: int) -> tuple[bool, int]:
    """Return whether actors get a GPU each, and for how many actors the cluster has room."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(min(resources.get("GPU", 0), resources.get("CPU", 0))) for resources in machines)
    if gpus and device != "cpu":
        return True, gpus
    return False, sum(int(resources.get("CPU", 0) // cpus) for resources in machines)
