"""The engine on a Ray cluster: one actor per GPU, or per `runtime.actor_cpus` CPU cores.

Shards and results travel through Ray's object store, so the machines need no shared disk, only the project under the
same path. The driver reads every shard and writes every result. Actors that die are replaced, and their shards are
made again; whoever makes a shard, its bytes are the same.
"""

import os
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError
from tqdm import tqdm

from stages.runtime.engine import ShardFolder, ShardFunction, Worker, WorkerFacts, indices_of
from stages.runtime.params import Params
from stages.runtime.ray_cluster import connect
from stages.storage.files import explaining, whole
from stages.storage.images import Images, Written, images_provenance, piece_path, read_shard, rows_of, shard_paths
from stages.storage.parquet import check_table
from stages.storage.provenance import Provenance, key_of

ATTEMPTS = 6  # actors that may die of one shard or of one call
AHEAD = 2  # shards that an actor has at a time, so that it need not wait for the next one
PATIENCE = 60.0  # seconds without an actor before a message says that the cluster seems to be full
LOST = (RayActorError, ObjectLostError)  # an actor, its machine, or a result on that machine is gone


@dataclass(frozen=True)
class SentFolder:
    """A folder in Ray's object store: its path on the driver, and the content of its files by name."""

    path: Path
    files: dict[str, ray.ObjectRef]


class Actor:
    """A process of the cluster that holds one worker."""

    def start(
        self, root: Path, make_worker: Callable[..., Worker], arguments: Sequence[Any]
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

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Return `function(worker, *arguments)`."""
        with received(arguments) as here:
            return function(self._worker, *here)

    def map(self, function: ShardFunction, index: int, shard: Images) -> bytes:
        """Return the file that the function writes about a shard."""
        with TemporaryDirectory() as folder, explaining(Path(folder)):
            path = Path(folder) / "result.parquet"
            function(self._worker, path, index, shard)
            return path.read_bytes()


@contextmanager
def received(arguments: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield arguments in which each `SentFolder` is the path of a copy on this machine; errors name the original."""
    with TemporaryDirectory() as temporary:
        here, originals = list(arguments), {}
        for number, one in enumerate(here):
            if isinstance(one, SentFolder):
                here[number] = Path(temporary, str(number))
                here[number].mkdir()
                originals[here[number]] = one.path
                for name, content in one.files.items():
                    (here[number] / name).write_bytes(ray.get(content))
        try:
            yield here
        except ValueError as error:
            message = str(error)
            for copy, original in originals.items():
                message = message.replace(str(copy), str(original))
            raise ValueError(message) from error


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
        self._arguments = Path.cwd(), ray.put(partial(make_worker, params)), sent(arguments)
        self._actors: list[Any] = []  # with a loaded worker
        self._starting: dict[ray.ObjectRef, Any] = {}
        self._deaths = 0  # of actors that were starting, since one has started
        self._key: Provenance | None = None
        self._most = min(places, max(shards, 1))
        for _ in range(self._most):
            self._start()
        self._require_actor()

    def map(
        self, function: ShardFunction, source: Path, folder: Path, *, what: str, chosen: Sequence[int] | None = None
    ) -> Written:
        """As `Engine.map`."""
        indices, paths, first = indices_of(source, chosen), shard_paths(source), images_provenance(source)
        targets = [piece_path(folder, position) for position in range(len(indices))]
        waiting = deque(position for position, target in enumerate(targets) if not target.is_file())
        kept, deaths, function = len(targets) - len(waiting), Counter(), ray.put(function)
        running: dict[ray.ObjectRef, tuple[Any, int]] = {}  # in the order in which they were given
        start, images = time.perf_counter(), 0
        with tqdm(total=len(targets), initial=kept, desc=what, disable=None, leave=False) as bar:
            while waiting or running:
                for actor in self._free(running)[: len(waiting)]:
                    position = waiting.popleft()
                    index = indices[position]
                    shard = ray.put(read_shard(paths[index], index, first))
                    running[actor.map.remote(function, position, shard)] = actor, position
                if not (reference := self._first_answer(running)):
                    continue
                actor, position = running[reference]
                try:
                    content = answer(reference)
                except LOST as error:
                    lost = {ref: given for ref, (other, given) in running.items() if other is actor}
                    culprit, *_ = lost.values()  # an actor works on its shards in turn: the others waited
                    deaths[culprit] += 1
                    if deaths[culprit] == ATTEMPTS:
                        raise ValueError(died_too_often(str(paths[indices[culprit]]), error)) from error
                    waiting.extend(lost.values())
                    running = {ref: given for ref, given in running.items() if ref not in lost}
                    self._replace(actor)
                    continue
                del running[reference]
                with explaining(targets[position]), whole(targets[position]) as temporary:
                    temporary.write_bytes(content)
                images += rows_of(targets[position])
                bar.set_postfix_str(f"{images / (time.perf_counter() - start):.0f} images/s", refresh=False)
                bar.update()
        return Written(sum(map(rows_of, targets)), len(targets), kept)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """As `Engine.call`."""
        arguments = sent(arguments)
        for _ in range(ATTEMPTS):
            self._require_actor()
            try:
                return answer(self._actors[0].call.remote(function, arguments))
            except LOST as error:
                cause = error
                self._replace(self._actors[0])
        raise ValueError(died_too_often(getattr(function, "__name__", str(function)), cause)) from cause

    def _free(self, running: dict[ray.ObjectRef, tuple[Any, int]]) -> list[Any]:
        """Return the actors that can take another shard, those first that have none, and twice if they can take two."""
        given = Counter(actor for actor, _ in running.values())
        return [actor for count in range(AHEAD) for actor in self._actors if given[actor] <= count]

    def _start(self) -> None:
        """Start an actor; `_first_answer` notices when its worker is loaded."""
        actor = self._actor_class.remote()
        self._starting[actor.start.remote(*self._arguments)] = actor

    def _replace(self, actor: Any) -> None:
        """Start another actor in place of a dead one."""
        ray.kill(actor)  # it may live, where only its machine's network failed
        self._actors.remove(actor)
        self._start()

    def _require_actor(self) -> None:
        """Wait until a worker is loaded."""
        while not self._actors:
            self._first_answer({})

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
    """Put the folders of shards among some arguments into Ray's object store.

    Raises:
        ValueError: If a shard is damaged.
    """

    def send(folder: Path) -> SentFolder:
        for path in shard_paths(folder):
            check_table(path)
        return SentFolder(folder, {path.name: ray.put(path.read_bytes()) for path in folder.iterdir()})

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
    """Return the message about a shard or a call of which one actor after the other has died."""
    return f"{what}: its process has died {ATTEMPTS} times; Ray's logs say why ({error})"


def places_of(device: str, cpus: int) -> tuple[bool, int]:
    """Return whether actors get a GPU each, and for how many actors the cluster has room."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(min(resources.get("GPU", 0), resources.get("CPU", 0))) for resources in machines)
    if gpus and device != "cpu":
        return True, gpus
    return False, sum(int(resources.get("CPU", 0) // cpus) for resources in machines)
