"""The engine on a Ray cluster: an actor for each GPU, or for so many CPUs; shards go from file to file.

All machines see the project under one path: a shared disk, or clones of it with `runtime.storage` between them.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from stages.runtime.cli import progress
from stages.runtime.dispatch import DEATHS, LOOK, Dispatch, Task, answer, carried, died_too_often, tasks_of
from stages.runtime.engine import ShardFolder, Work, Worker, as_paths
from stages.runtime.object_store import AT_ONCE, Storage, StoredFolder, naming
from stages.runtime.params import Params
from stages.runtime.ray_cluster import connect
from stages.storage.files import explaining, whole
from stages.storage.images import Written, checksums_of, read_shard, rows_of, shard_paths
from stages.storage.provenance import Provenance, key_of

PLACE = 60.0  # seconds before somebody is told that there seems to be no place for a worker


class Actor:
    """Lives on the cluster: loads once what a worker needs, then makes file after file.

    Args:
        root: The project's folder.
        load: Makes the worker of the arguments.
        arguments: What the worker is made of; a folder in the storage becomes a path.
        storage: What files come from and go to; None for the disk that all machines share.
    """

    def __init__(
        self, root: Path, load: Callable[..., Worker], arguments: tuple[Any, ...], storage: Storage | None
    ) -> None:
        self._storage, self._error = storage, None
        try:
            os.chdir(root)
            with self._fetched(arguments) as here:
                self._worker = load(*here)
            self._key = key_of(self._worker.facts, [], device=self._worker.facts["device"])
        except ValueError as error:
            self._error = error
        except Exception as error:  # whatever is wrong with a machine: to be told by name where somebody hears it
            self._error = ValueError(f"{socket.gethostname()}: a worker cannot start there: {error!r}")

    def facts(self) -> dict[str, Any]:
        """The worker's."""
        return self._ready().facts

    def call(self, same: Provenance, method: str, *arguments: Any) -> Any:
        """What a method of the worker returns; arguments as for the class, errors as of `make`."""
        with self._fetched(arguments) as here:
            return getattr(self._ready(same), method)(*here)

    def make(self, same: Provenance, task: Task, pushed: None = None) -> None:
        """Makes a file.

        Args:
            same: Facts, code and libraries of the first worker.
            task: What to make.
            pushed: The carrier's answer: given its reference, Ray starts this once the shard is in the storage.

        Raises:
            ValueError: If facts, code or a library are not as `same` says, so that the bytes might differ.
        """
        make = partial(getattr(self._ready(same), task.method), piece=task.piece, about=task.about)
        with explaining(task.target):
            if self._storage:
                self._by_storage(task, self._storage, make)
            elif not task.target.is_file():
                with whole(task.target) as temporary:
                    make(temporary, shard=read_shard(task.source, task.index, task.first))

    def _ready(self, same: Provenance | None = None) -> Worker:
        if self._error:
            raise self._error
        if same not in (None, self._key):
            differ = ", ".join(key for key in same if self._key[key] != same[key])
            raise ValueError(f"{socket.gethostname()}: {differ} differ from those of the first worker")
        return self._worker

    @contextmanager
    def _fetched(self, arguments: tuple[Any, ...]) -> Iterator[list[Any]]:
        """Arguments as the worker takes them: of folders in the storage, copies here, while the block lasts."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(self._storage.fetched_folder(one)) if isinstance(one, StoredFolder) else one
                for one in arguments
            ]

    def _by_storage(self, task: Task, storage: Storage, make: Callable[..., None]) -> None:
        with storage.fetched(task.seal) as source, storage.delivered(task.name) as target:
            with naming(source, task.source):
                shard = read_shard(source, task.index, task.first)
            make(target, shard=shard)


@contextmanager
def cluster(params: Params, worker: Callable[..., Worker], *arguments: Any, shards: int) -> Iterator["OnRay"]:
    """Connects to the cluster of RAY_ADDRESS, or starts one on this machine, and starts actors there.

    Raises:
        ValueError: If there is no such cluster or no place in it, or if the worker says that it cannot start.
    """
    connect()
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
            params = params.with_runtime({"workers": runtime.workers or runtime.actor_cpus})
        storage = Storage(runtime.storage) if runtime.storage else None
        self._carrier = carrier_to(runtime.storage) if runtime.storage else None
        needs = {"num_gpus": int(gpus), "num_cpus": 1 if gpus else runtime.actor_cpus}
        remote = ray.remote(Actor).options(**needs, max_restarts=-1)
        made_of = Path.cwd(), partial(worker, params), self._sent(arguments), storage
        self._actors = [remote.remote(*made_of) for _ in range(min(places, max(shards, 1)))]
        _, self.facts = self._first()
        self._same = key_of(self.facts, [], device=self.facts["device"])

    def write(self, work: Work) -> Written:
        """As `Engine.write`."""
        tasks = tasks_of(work)
        waiting = [task for task in tasks if not task.target.is_file()]
        start, made = time.perf_counter(), 0
        with tqdm(
            total=len(tasks), initial=len(tasks) - len(waiting), desc=work.what, disable=None, leave=False
        ) as bar:
            for task in Dispatch(self._actors, waiting, self._carrier, self._same).finished():
                made += rows_of(task.target)
                bar.set_postfix_str(f"{made / (time.perf_counter() - start):.0f} images/s", refresh=False)
                bar.update()
        return Written(sum(rows_of(task.target) for task in tasks), len(tasks), len(tasks) - len(waiting))

    def call(self, method: str, *arguments: Any) -> Any:
        """As `Engine.call`."""
        sent = self._sent(arguments)
        return self._ask(lambda actor: actor.call.remote(self._same, method, *sent), method)

    def _sent(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments for workers elsewhere; the folders among them go into the storage, if there is one."""
        if not self._carrier:
            return as_paths(arguments)
        return tuple(self._stored(one.path.absolute()) if isinstance(one, ShardFolder) else one for one in arguments)

    def _stored(self, folder: Path) -> StoredFolder:
        """A folder whose shards have been taken to the storage."""
        seals = checksums_of(folder)
        pushed = [self._carrier.push.remote(*one) for one in zip(shard_paths(folder), seals, strict=True)]
        for reference in progress(pushed, what=f"send {folder}", total=len(pushed)):
            carried(reference)
        return StoredFolder(folder, seals)

    def _ask(self, call: Callable[[Any], Any], what: str) -> Any:
        """What a worker answers that is there; another one is asked when it dies."""
        for death in range(DEATHS):
            try:
                return answer(call(self._first()[0]))
            except RayActorError as error:
                cause = error
                time.sleep(LOOK * 2**death)  # it can take Ray some seconds to notice that a machine is gone
        raise ValueError(died_too_often(what, cause)) from cause

    def _first(self) -> tuple[Any, dict[str, Any]]:
        """The first worker to answer, and its facts: others may have been sent to a machine that is gone."""
        asked = {actor.facts.remote(): actor for actor in self._actors}
        while True:
            ready, _ = ray.wait(list(asked), timeout=PLACE)
            if not ready:
                print("waiting for a worker of the Ray cluster: is it full?", file=sys.stderr)
                continue
            actor = asked.pop(ready[0])
            try:
                return actor, answer(ready[0])
            except RayActorError:
                time.sleep(LOOK)
                asked[actor.facts.remote()] = actor


def carrier_to(url: str) -> Any:
    """An actor on this machine that takes files from its disk to the storage and back: the driver touches none."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    retries = {"max_restarts": -1, "max_task_retries": DEATHS - 1}  # all that it does may be done twice
    remote = ray.remote(Storage).options(num_cpus=0, max_concurrency=AT_ONCE, scheduling_strategy=here, **retries)
    return remote.remote(url)


def places_of(device: str, cpus: int) -> tuple[bool, int]:
    """Whether workers get a GPU each, and how many workers the cluster has place for."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(min(resources.get("GPU", 0), resources.get("CPU", 0))) for resources in machines)
    if gpus and device != "cpu":
        return True, gpus
    return False, sum(int(resources.get("CPU", 0) // cpus) for resources in machines)
