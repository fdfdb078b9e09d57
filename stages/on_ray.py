"""The engine on a Ray cluster: an actor for each GPU, or for so many CPUs; shards go from file to file.

A shard's file is written by one actor under a name of its own and renamed, so it does not matter if one is made twice:
when an actor or its machine dies, its shards are made elsewhere, and the last ones to be waited for are begun a second
time. All machines see the project under one path (a shared disk, or clones of it and `runtime.storage` between them).
"""

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayActorError, RayTaskError
from tqdm import tqdm

import stages
from stages.banks.files import flush, put, remove
from stages.banks.images import Written, images_provenance, read_shard, shard_paths
from stages.banks.provenance import Provenance, key_of
from stages.banks.table import seal_of
from stages.engine import Worker, piece_path, rows_of
from stages.params import Params
from stages.storage import Storage

DEATHS = 6  # of workers, before the shard or the call that they died of is given up
AHEAD = 2  # shards that a worker is given at a time, so that it never waits for the next
PATIENCE = 3  # times as long as the slowest so far, and a shard is begun a second time where a worker is free
LOOK = 0.5  # seconds between two looks at who is late


@dataclass(frozen=True)
class Task:
    """A file to be made of a shard.

    Attributes:
        target: The file.
        piece: Its number in its folder.
        source: The shard.
        seal: The shard's digest.
        index: The shard's number in its folder.
        first: What has made the first shard of that folder.
        about: What the worker is told beside it.
        method: Of the worker.
        name: Of the file in the storage.
    """

    target: Path
    piece: int
    source: Path
    seal: str
    index: int
    first: Provenance
    about: dict[str, Any]
    method: str
    name: str


class Actor:
    """Lives on the cluster: loads once what a worker needs, then makes file after file.

    Args:
        root: The project's folder.
        load: Makes the worker.
        storage: What files come from and go to; None for the disk that all machines share.
    """

    def __init__(self, root: Path, load: Callable[[], Worker], storage: Storage | None) -> None:
        os.chdir(root)
        self._storage, self._error = storage, None
        try:
            self._worker = load()
        except ValueError as error:  # the user's; raised out of here, Ray would start this again and again
            self._error = error

    def facts(self) -> dict[str, Any]:
        """The worker's."""
        return self._ready().facts

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the worker returns."""
        return getattr(self._ready(), method)(*arguments)

    def make(self, task: Task, same: Provenance) -> None:
        """Makes a file.

        Raises:
            ValueError: If the code or a library is not as `same` says, so that the bytes might differ.
        """
        worker = self._ready()
        if (found := key_of({}, [], device=worker.facts["device"])) != same:
            differ = ", ".join(key for key in same if found[key] != same[key])
            raise ValueError(f"{socket.gethostname()}: differs from the machine that asks ({differ})")
        make = partial(getattr(worker, task.method), piece=task.piece, about=task.about)
        if self._storage:
            self._by_storage(task, self._storage, make)
        elif not task.target.is_file():
            make_whole(task.target, lambda path: make(path, shard=read_shard(task.source, task.index, task.first)))

    def _ready(self) -> Worker:
        if self._error:
            raise self._error
        return self._worker

    def _by_storage(self, task: Task, storage: Storage, make: Callable[..., None]) -> None:
        with storage.fetched(task.seal) as source, storage.delivered(task.name) as target:
            try:
                shard = read_shard(source, task.index, task.first)
            except ValueError as error:
                raise ValueError(str(error).replace(str(source), str(task.source))) from error
            make(target, shard=shard)


def make_whole(path: Path, make: Callable[[Path], None]) -> None:
    """As `files.whole`, under a name of this process: another machine may be making the same file."""
    partial_path = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.partial")
    partial_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        make(partial_path)
        flush(partial_path)
        put(partial_path, path)
    finally:
        remove(partial_path)


@contextmanager
def cluster(params: Params, worker: Callable[..., Worker], *arguments: Any, shards: int) -> Iterator["OnRay"]:
    """Connects to the cluster of RAY_ADDRESS, or starts one on this machine, and starts actors there.

    Raises:
        ValueError: If the cluster has no place for a worker, or if the worker says that it cannot start.
    """
    package = str(Path(stages.__file__).parent)
    address = os.environ.get("RAY_ADDRESS") or "local"
    ray.init(address=address, runtime_env={"py_modules": [package]}, logging_level="ERROR")
    try:
        yield OnRay(params, worker, *arguments, shards=shards)
    finally:
        ray.shutdown()


class OnRay:
    """As `engine.Engine`; arguments as for `cluster`."""

    def __init__(self, params: Params, worker: Callable[..., Worker], *arguments: Any, shards: int) -> None:
        runtime = params.runtime
        gpus, places = places_of(runtime.device, runtime.actor_cpus)
        if not places:
            raise ValueError(f"runtime.actor_cpus: no machine of the Ray cluster has {runtime.actor_cpus} CPUs")
        if not gpus:
            workers = runtime.workers or runtime.actor_cpus
            params = params.model_copy(update={"runtime": runtime.model_copy(update={"workers": workers})})
        self._storage = Storage(runtime.storage) if runtime.storage else None
        needs = {"num_gpus": int(gpus), "num_cpus": 1 if gpus else runtime.actor_cpus}
        remote = ray.remote(Actor).options(**needs, max_restarts=-1)
        load = partial(worker, params, *arguments)
        self._actors = [remote.remote(Path.cwd(), load, self._storage) for _ in range(min(places, max(shards, 1)))]
        self.facts = self._ask(lambda actor: actor.facts.remote(), "runtime.engine")

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
        tasks = tasks_of(folder, source, about, method, chosen)
        waiting = [task for task in tasks if not task.target.is_file()]
        start, made = time.perf_counter(), 0
        same = key_of({}, [], device=self.facts["device"])
        with tqdm(total=len(tasks), initial=len(tasks) - len(waiting), desc=what, disable=None, leave=False) as bar:
            for task in Round(self._actors, waiting, self._storage, same).finished():
                made += rows_of(task.target)
                bar.set_postfix_str(f"{made / (time.perf_counter() - start):.0f} images/s", refresh=False)
                bar.update()
        return Written(sum(rows_of(task.target) for task in tasks), len(tasks), len(tasks) - len(waiting))

    def call(self, method: str, *arguments: Any) -> Any:
        """As `Engine.call`."""
        return self._ask(lambda actor: actor.call.remote(method, *arguments), method)

    def _ask(self, call: Callable[[Any], Any], what: str) -> Any:
        """What one worker answers; another one is asked when it dies."""
        for death in range(DEATHS):
            try:
                return answer(call(self._actors[death % len(self._actors)]))
            except RayActorError as error:
                cause = error
                time.sleep(LOOK * 2**death)  # it can take Ray some seconds to notice that a machine is gone
        raise ValueError(died_too_often(what, cause)) from cause


def tasks_of(
    folder: Path, source: Path, about: dict[str, Any], method: str, chosen: Sequence[int] | None
) -> list[Task]:
    """A task for each chosen shard of a folder; arguments as for `Engine.write`."""
    paths, first = shard_paths(source), images_provenance(source)
    tasks = []
    for piece, index in enumerate(range(len(paths)) if chosen is None else chosen):
        target, shard = piece_path(folder, piece).absolute(), paths[index].absolute()
        tasks.append(Task(target, piece, shard, seal_of(shard), index, first, about, method, uuid4().hex))
    return tasks


class Round:
    """Gives tasks to actors, a few at a time, until every file is there.

    Retrying is done here and not left to Ray, which counts it as the death of a worker whenever it asks a machine that
    is gone, and so would give up a shard before it has noticed.

    Args:
        actors: Who works.
        tasks: What is to be made.
        storage: As the actors have it.
        same: As `Actor.make` takes it.
    """

    def __init__(self, actors: list, tasks: list[Task], storage: Storage | None, same: Provenance) -> None:
        self._actors, self._storage, self._same = actors, storage, same
        self._waiting, self._left = deque(tasks), {task.name for task in tasks}
        self._running: dict[ray.ObjectRef, tuple[Task, Any, float]] = {}
        self._signs_of_life: dict[ray.ObjectRef, Any] = {}  # of actors that have died, by the question
        self._deaths: Counter = Counter()
        self._slowest = float("inf")

    def finished(self) -> Iterator[Task]:
        """Every task once, as soon as its file is there.

        Raises:
            ValueError: If a worker says that it cannot, or if a shard has cost too many workers their lives.
        """
        while self._left:
            self._give()
            ready, _ = ray.wait([*self._running, *self._signs_of_life], timeout=LOOK)
            for reference in ready:
                if reference in self._signs_of_life:
                    self._hear(reference)
                elif (task := self._take(reference)) and task.name in self._left:
                    self._left.remove(task.name)
                    if self._storage:
                        self._storage.collect(task.name, task.target)
                    yield task

    def _give(self) -> None:
        """Gives what waits to those who have less than AHEAD, and what is late to those who are free."""
        busy = Counter(actor for _, actor, _ in self._running.values())
        dead = set(self._signs_of_life.values())
        for wanted in range(AHEAD):
            for actor in self._actors:
                if busy[actor] <= wanted and actor not in dead and self._waiting:
                    self._start(actor, self._waiting.popleft())
                    busy[actor] += 1
        free = [actor for actor in self._actors if not busy[actor] and actor not in dead]
        for actor, task in zip(free, self._late(), strict=False):
            self._start(actor, task)

    def _late(self) -> list[Task]:
        """Tasks of one actor alone that take far longer than any has: its machine may be gone for good."""
        if self._waiting:
            return []
        tries, now = Counter(task.name for task, *_ in self._running.values()), time.monotonic()
        return [
            task
            for task, _, begun in self._running.values()
            if task.name in self._left and tries[task.name] == 1 and now - begun > PATIENCE * self._slowest
        ]

    def _start(self, actor: Any, task: Task) -> None:
        if self._storage:
            self._storage.push(task.source)
        self._running[actor.make.remote(task, self._same)] = task, actor, time.monotonic()

    def _take(self, reference: Any) -> Task | None:
        """The task whose file is there now; None if its worker has died: then it waits again, for somebody else."""
        task, actor, begun = self._running.pop(reference)
        try:
            answer(reference)
        except RayActorError as error:
            self._deaths[task.name] += 1
            if self._deaths[task.name] == DEATHS:
                raise ValueError(died_too_often(str(task.source), error)) from error
            if task.name in self._left and task.name not in {other.name for other, *_ in self._running.values()}:
                self._waiting.append(task)
            if actor not in self._signs_of_life.values():
                self._signs_of_life[actor.facts.remote()] = actor
            return None
        took = time.monotonic() - begun
        self._slowest = took if self._slowest == float("inf") else max(took, self._slowest)
        return task

    def _hear(self, reference: Any) -> None:
        """Whether an actor that has died lives again; if not, it is asked once more."""
        actor = self._signs_of_life.pop(reference)
        try:
            answer(reference)
        except RayActorError:
            time.sleep(LOOK)
            self._signs_of_life[actor.facts.remote()] = actor


def places_of(device: str, cpus: int) -> tuple[bool, int]:
    """Whether workers get a GPU each, and how many workers the cluster has place for."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(resources.get("GPU", 0)) for resources in machines)
    if gpus and device != "cpu":
        return True, gpus
    return False, sum(int(resources.get("CPU", 0) // cpus) for resources in machines)


def answer(reference: Any) -> Any:
    """What a call on the cluster returns.

    Raises:
        ValueError: If it raised one.
        RayActorError: If its worker has died.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, ValueError):
            raise ValueError(str(error.cause)) from error
        raise


def died_too_often(what: str, error: RayActorError) -> str:
    """The message for something that costs one worker after the other its life."""
    return f"{what}: its worker has died {DEATHS} times; Ray's logs say why ({error})"
