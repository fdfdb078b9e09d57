"""Shards to the actors of a Ray cluster, a few at a time, until every file is there, whoever dies.

A file is written under a name of its own and renamed, so it does not matter if one is made twice: when an actor or its
machine dies, its shards are made elsewhere, and those that are late at the end are begun a second time.
"""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayActorError, RayTaskError

from stages.runtime.engine import Work
from stages.storage.images import images_provenance, piece_path, shard_paths
from stages.storage.parquet import checksum_of
from stages.storage.provenance import Provenance

DEATHS = 6  # of workers, before the shard or the call that they died of is given up
AHEAD = 2  # shards that a worker is given at a time, so that it never waits for the next
PATIENCE = 3  # times as long as the slowest so far, and a shard is begun a second time where a worker is free
LOOK = 0.5  # seconds between two looks at who is late
END = 3.0  # seconds that those may take to stop whose work others have done
ARRIVAL = 5.0  # seconds that a shared disk may take to show a file


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
        name: Of the file in the storage, another one for each try.
    """

    target: Path
    piece: int
    source: Path
    seal: str
    index: int
    first: Provenance
    about: dict[str, Any]
    method: str
    name: str = ""


def tasks_of(work: Work) -> list[Task]:
    """A task for each chosen shard of some work."""
    paths, first = shard_paths(work.source), images_provenance(work.source)
    tasks = []
    for piece, index in enumerate(work.indices):
        target, shard = piece_path(work.folder, piece).absolute(), paths[index].absolute()
        tasks.append(Task(target, piece, shard, checksum_of(shard), index, first, work.about, work.method))
    return tasks


class Dispatch:
    """Gives tasks to actors, a few at a time, until every file is there.

    Retrying is done here and not left to Ray, which counts it as the death of a worker whenever it asks a machine that
    is gone, and so would give up a shard before it has noticed.

    Args:
        actors: Who works.
        tasks: What is to be made.
        carrier: An actor of `Storage` that brings shards there and results here; None on a shared disk.
        same: As `Actor.make` takes it.
    """

    def __init__(self, actors: list, tasks: list[Task], carrier: Any | None, same: Provenance) -> None:
        self._actors, self._carrier, self._same = actors, carrier, same
        self._waiting, self._left = deque(tasks), {task.target for task in tasks}
        self._pushed: dict[str, ray.ObjectRef] = {}  # by seal: answered once the shard is in the storage
        self._uncollected: set[str] = set()  # names of results that are in the storage or may come there
        self._running: dict[ray.ObjectRef, tuple[Task, Any, float]] = {}
        self._arriving: dict[ray.ObjectRef, Task] = {}  # what is made, and on its way from the storage
        # of actors that have not been heard of yet or have died, by the question
        self._signs_of_life: dict[ray.ObjectRef, Any] = {actor.facts.remote(): actor for actor in actors}
        self._deaths: Counter = Counter()
        self._counted: set[ray.ObjectRef] = set()  # tries whose worker's death has been counted already
        self._slowest, self._silent = float("inf"), False

    def finished(self) -> Iterator[Task]:
        """Every task once, as soon as its file is here.

        Raises:
            ValueError: If a worker says that it cannot, or if a shard has cost too many workers their lives.
        """
        try:
            while self._left:
                self._give()
                ready, _ = ray.wait([*self._running, *self._arriving, *self._signs_of_life], timeout=LOOK)
                for reference in ready:
                    if reference in self._signs_of_life:
                        self._hear(reference)
                    elif (task := self._arrived(reference)) and task.target in self._left:
                        self._left.remove(task.target)
                        require_here(task.target)
                        yield task
        finally:
            self._end()

    def _arrived(self, reference: Any) -> Task | None:
        """The task whose file is here now; None if it is still to be made, or to be collected from the storage."""
        if task := self._arriving.pop(reference, None):
            carried(reference)
            self._uncollected.remove(task.name)
            return task
        task = self._take(reference)
        if not task or not self._carrier:
            return task
        if task.target in self._unmade:
            self._arriving[self._carrier.collect.remote(task.name, task.target)] = task
        return None

    def _end(self) -> None:
        """Stops those who are still at what others have finished: the folder is about to move. Clears the storage."""
        for _, actor, _ in self._running.values():
            ray.kill(actor, no_restart=False)
        if last := [*self._running, *self._arriving]:
            ray.wait(last, num_returns=len(last), timeout=END)
        self._clear()

    def _clear(self) -> None:
        """Removes what is left in the storage; that it cannot is said and is no error, for the results are here."""
        removals = [self._carrier.remove.remote(name) for name in self._uncollected]
        if not removals:
            return
        done, late = ray.wait(removals, num_returns=len(removals), timeout=END)
        try:
            for reference in done:
                carried(reference)
        except ValueError as error:
            print(f"what is under results/ there stays: {error}", file=sys.stderr)
        if late:
            print("what is under results/ in runtime.storage stays: no answer from there", file=sys.stderr)

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
        tries, now = Counter(task.target for task, *_ in self._running.values()), time.monotonic()
        unmade = self._unmade
        return [
            task
            for task, _, begun in self._running.values()
            if task.target in unmade and tries[task.target] == 1 and now - begun > PATIENCE * self._slowest
        ]

    @property
    def _unmade(self) -> set[Path]:
        """Targets that are neither here nor on their way."""
        return self._left - {task.target for task in self._arriving.values()}

    def _start(self, actor: Any, task: Task) -> None:
        pushed = None
        if self._carrier:
            if not (pushed := self._pushed.get(task.seal)):
                pushed = self._pushed[task.seal] = self._carrier.push.remote(task.source, task.seal)
            task = replace(task, name=uuid4().hex)
            self._uncollected.add(task.name)
        self._running[actor.make.remote(self._same, task, pushed)] = task, actor, time.monotonic()

    def _take(self, reference: Any) -> Task | None:
        """The task whose file has been made; None if its worker has died: then it waits again, for somebody else."""
        tried = task, actor, begun = self._running.pop(reference)
        try:
            answer(reference)
        except RayActorError as error:
            if reference not in self._counted:
                self._blame(tried, error)
            if task.target in self._unmade - {other.target for other, *_ in self._running.values()}:
                self._waiting.append(task)
            if actor not in self._signs_of_life.values():
                self._signs_of_life[actor.facts.remote()] = actor
            return None
        took = time.monotonic() - begun
        self._slowest = took if self._slowest == float("inf") else max(took, self._slowest)
        return task

    def _blame(self, tried: tuple[Task, Any, float], error: RayActorError) -> None:
        """Counts a worker's death against the first of the tries that it had: it was at that one, the others waited."""
        had = {
            reference: other
            for reference, other in self._running.items()
            if other[1] is tried[1] and reference not in self._counted
        }
        self._counted |= set(had)
        task, *_ = min([tried, *had.values()], key=lambda one: one[2])
        self._deaths[task.target] += 1
        if self._deaths[task.target] == DEATHS:
            raise ValueError(died_too_often(str(task.source), error)) from error

    def _hear(self, reference: Any) -> None:
        """Whether an actor is there; if not, it is asked once more."""
        actor = self._signs_of_life.pop(reference)
        try:
            answer(reference)
        except RayActorError:
            if not self._running and not self._silent:
                self._silent = True
                print("no worker of the Ray cluster answers; waiting for one to come back", file=sys.stderr)
            time.sleep(LOOK)
            self._signs_of_life[actor.facts.remote()] = actor


def require_here(path: Path) -> None:
    """Waits for a file that another machine has written.

    Raises:
        ValueError: If it does not come.
    """
    end = time.monotonic() + ARRIVAL
    while not path.is_file():
        if time.monotonic() > end:
            raise ValueError(f"{path}: made by a worker, but not here; without a shared disk set runtime.storage")
        time.sleep(LOOK)


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
        if isinstance(error.cause, RayActorError):  # not the worker: the carrier, which it waited for
            raise ValueError(died_too_often("runtime.storage", error.cause)) from error
        raise
    except RayActorError as error:
        if getattr(error, "actor_init_failed", False):
            raise ValueError(f"runtime.engine: a worker cannot start: {error}") from error
        raise


def carried(reference: Any) -> Any:
    """What a call of the carrier returns; raises as `answer`, but for the death of the carrier, the user's to mend."""
    try:
        return answer(reference)
    except RayActorError as error:
        raise ValueError(died_too_often("runtime.storage", error)) from error


def died_too_often(what: str, error: RayActorError) -> str:
    """The message for something that costs one worker after the other its life."""
    return f"{what}: its process has died {DEATHS} times; Ray's logs say why ({error})"
