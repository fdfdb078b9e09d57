"""The engine of one process: which shards it makes, and what it keeps; tests/reliability/test_ray.py has the
other, but for what a cluster does too seldom to be waited for.
"""

import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from stages.runtime.engine import Local, Work, engine
from stages.runtime.params import load_params
from stages.storage.images import read_column, write_images
from stages.storage.parquet import read_table, write_table
from stages.storage.provenance import key_of


class Counter:
    """Writes how many images a shard has; a worker."""

    facts = {"device": "cpu"}  # noqa: RUF012

    def __init__(self) -> None:
        self.made = []

    def said(self, word):
        return word

    def make(self, path, piece, shard, about):
        self.made.append(piece)
        write_table(path, [pa.table({"id": shard.ids, "piece": [piece] * len(shard)})], about)


@pytest.fixture
def source(shard, tmp_path):
    write_images(tmp_path / "source", shard.split(4), {"dataset": "d"})
    return tmp_path / "source"


def test_chosen_shards_are_numbered_anew_and_finished_files_kept(source, shard, tmp_path):
    worker = Counter()
    run = Local(worker)
    written = run.write(Work(tmp_path / "out", source, {"a": 1}, "test", chosen=[1, 3]))
    assert (written.images, written.pieces, written.kept) == (6, 2, 0) and worker.made == [0, 1]
    found = [read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [table["id"].to_pylist() for table, _ in found] == [shard.ids[3:6], shard.ids[9:12]]
    assert [about for _, about in found] == [{"a": 1}] * 2
    (tmp_path / "out/00000.parquet").unlink()
    again = run.write(Work(tmp_path / "out", source, {"a": 1}, "test", chosen=[1, 3]))
    assert (again.images, again.pieces, again.kept) == (6, 2, 1) and worker.made == [0, 1, 0]


def test_behind_the_last_chosen_shard_nothing_is_read(source, tmp_path):
    last = source / "00003.parquet"
    last.write_bytes(last.read_bytes()[:-9])
    assert Local(Counter()).write(Work(tmp_path / "out", source, {}, "test", chosen=[0])).images == 3
    with pytest.raises(ValueError, match=r"00003\.parquet"):
        Local(Counter()).write(Work(tmp_path / "all", source, {}, "test"))


def test_one_worker_is_loaded_with_the_parameters():
    with engine(load_params(), lambda params: Counter(), shards=3) as run:
        assert run.facts == {"device": "cpu"} and run.call("said", "a") == "a"


def test_a_sealed_file_of_another_kind_has_no_labels(tmp_path):
    write_table(tmp_path / "a.parquet", [pa.table({"id": ["x"]})], {})
    with pytest.raises(ValueError, match=r"a\.parquet: of another kind, no column label"):
        read_column(tmp_path / "a.parquet", "label")


class Cluster:
    """What stages/runtime/dispatch.py uses of Ray; its references are answers."""

    ObjectRef = object

    def wait(self, references, timeout, num_returns=1):
        ready = [reference for reference in references if reference.say]
        return ready[-num_returns:], [reference for reference in references if not reference.say]

    def get(self, reference):
        return reference.say()

    def kill(self, actor, no_restart):
        actor.was_killed = not no_restart


class PromptPrediction:
    """What comes of one call; never, if there is nothing to say."""

    def __init__(self, say, *, fails: bool = False) -> None:
        self.say, self.fails = say, fails


class Worker:
    """An actor that makes nothing, and answers as it is told."""

    def __init__(self, say) -> None:
        self.tasks, self.pushed = [], []
        self.make = SimpleNamespace(remote=self._begin)
        self._say = say
        self.facts = SimpleNamespace(remote=lambda: PromptPrediction(dict))

    def _begin(self, same, task, pushed):
        """As Ray does it: what a call waits for decides about the call."""
        self.tasks.append(task)
        self.pushed.append(pushed)
        return PromptPrediction(pushed.say if pushed and pushed.fails else self._say)


FILES = [Path(str(number)) for number in range(4)]


class Carrier:
    """What stages/runtime/dispatch.py uses of an actor made of a storage."""

    def __init__(self, *, push=None, collect=None, remove=None, silent=False) -> None:
        """As the arguments say instead, if they do."""
        self.pushed, self.collected, self.removed = [], [], []
        self.push = SimpleNamespace(remote=lambda path, seal: self._push(seal, push))
        self.collect = SimpleNamespace(
            remote=lambda name, path: PromptPrediction(collect or (lambda: self.collected.append(path)))
        )
        self.remove = SimpleNamespace(
            remote=lambda name: PromptPrediction(None if silent else remove or (lambda: self.removed.append(name)))
        )

    def _push(self, seal, push):
        self.pushed.append(seal)
        return PromptPrediction(push or (lambda: None), fails=bool(push))


def round_of(monkeypatch, *answers, carrier=None):
    dispatch = pytest.importorskip("stages.runtime.dispatch")
    monkeypatch.setattr(dispatch, "ray", Cluster())
    monkeypatch.setattr(dispatch, "PATIENCE", 0)
    monkeypatch.setattr(dispatch, "require_here", lambda path: None)
    tasks = [dispatch.Task(path, n, f"shard {n}", f"seal {n}", n, {}, {}, "make") for n, path in enumerate(FILES)]
    actors = [Worker(say) for say in answers]
    return dispatch.Dispatch(actors, tasks, carrier, {}), actors


def test_a_shard_that_kills_every_worker_is_named(monkeypatch):
    from ray.exceptions import RayActorError

    def dies():
        raise RayActorError

    run, (one, other) = round_of(monkeypatch, dies, dies)
    with pytest.raises(ValueError, match=r"shard \d: its process has died 6 times"):
        list(run.finished())
    assert len(one.tasks) + len(other.tasks) >= 6


@pytest.mark.parametrize("order", [1, -1])
def test_a_shard_that_waited_while_its_worker_died_is_not_blamed(monkeypatch, order):
    """A worker dies with two shards; whichever is heard of first, the death counts once, against the first of them."""
    from ray.exceptions import RayActorError

    def dies():
        raise RayActorError

    run, (worker,) = round_of(monkeypatch, dies)
    first, second = run._waiting[0], run._waiting[1]
    for task in (first, second):
        run._waiting.remove(task)
        run._start(worker, task)
    for reference in list(run._running)[::order]:
        assert run._take(reference) is None
    assert run._deaths == {first.target: 1}


def test_what_a_lost_worker_has_is_made_by_a_free_one(monkeypatch):
    carrier = Carrier()
    run, (alive, lost) = round_of(monkeypatch, lambda: None, None, carrier=carrier)
    assert sorted(task.target for task in run.finished()) == sorted(carrier.collected) == FILES
    assert sorted(carrier.removed) == sorted(task.name for task in lost.tasks)
    assert lost.was_killed and len(lost.tasks) == 2 and sorted(task.target for task in alive.tasks) == FILES


def test_a_worker_of_other_facts_or_code_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an actor changes this process's folder; undone after the test
    on_ray, dispatch = pytest.importorskip("stages.runtime.on_ray"), pytest.importorskip("stages.runtime.dispatch")
    actor = on_ray.Actor(tmp_path, Counter, (), None)
    (task, *_) = dispatch.tasks_of(Work(tmp_path / "out", source, {}, "test"))
    same = key_of(Counter.facts, [], device="cpu")
    for key in same:
        with pytest.raises(ValueError, match=f"{key} differ from those of the first worker"):
            actor.make({**same, key: "other"}, task)
    assert not task.target.exists()
    task.target.parent.mkdir()
    actor.make(same, task)
    assert task.target.is_file()


def test_what_is_made_a_second_time_is_removed_from_the_storage(monkeypatch):
    """The second try is over before all is, so nobody has to stop it."""
    carrier = Carrier()
    run, (one, other) = round_of(monkeypatch, lambda: None, lambda: None, carrier=carrier)
    run._start(other, run._waiting[0])
    assert sorted(task.target for task in run.finished()) == sorted(carrier.collected) == FILES
    (removed,) = carrier.removed
    assert removed in [task.name for task in (*one.tasks, *other.tasks)]


def test_a_worker_that_cannot_leaves_nothing_in_the_storage(monkeypatch):
    def cannot():
        raise ValueError("no")

    carrier = Carrier()
    run, workers = round_of(monkeypatch, cannot, None, carrier=carrier)
    with pytest.raises(ValueError, match="no"):
        list(run.finished())
    assert sorted(carrier.removed) == sorted(task.name for worker in workers for task in worker.tasks)


def test_a_worker_waits_for_its_shard_which_goes_there_once(monkeypatch):
    """Also if somebody else begins it a second time."""
    carrier = Carrier()
    run, (alive, lost) = round_of(monkeypatch, lambda: None, None, carrier=carrier)
    list(run.finished())
    assert sorted(carrier.pushed) == [f"seal {number}" for number in range(4)]
    assert None not in [*alive.pushed, *lost.pushed] and set(lost.pushed) < set(alive.pushed)


def test_a_shard_that_cannot_be_sent_ends_the_run(monkeypatch):
    def damaged():
        raise ray_error(ValueError("shard 0: damaged"))

    run, _ = round_of(monkeypatch, lambda: None, carrier=Carrier(push=damaged))
    with pytest.raises(ValueError, match="shard 0: damaged"):
        list(run.finished())


@pytest.mark.parametrize("call", ["push", "collect"])
def test_a_carrier_that_dies_for_good_is_no_worker_s_death(monkeypatch, call):
    from ray.exceptions import RayActorError

    def dies():
        raise ray_error(RayActorError()) if call == "push" else RayActorError

    run, _ = round_of(monkeypatch, lambda: None, carrier=Carrier(**{call: dies}))
    with pytest.raises(ValueError, match=r"runtime\.storage: its process has died"):
        list(run.finished())
    assert not run._deaths


def test_what_cannot_be_removed_is_told_and_hides_nothing(monkeypatch, capsys):
    def refuses():
        raise ray_error(ValueError("runtime.storage: s3://bucket: refused"))

    run, _ = round_of(monkeypatch, lambda: None, None, carrier=Carrier(remove=refuses))
    assert sorted(task.target for task in run.finished()) == FILES
    assert "what is under results/ there stays: runtime.storage: s3://bucket: refused" in capsys.readouterr().err


def test_a_storage_that_does_not_answer_is_not_waited_for(monkeypatch, capsys):
    run, _ = round_of(monkeypatch, lambda: None, None, carrier=Carrier(silent=True))
    assert sorted(task.target for task in run.finished()) == FILES
    assert "what is under results/ in runtime.storage stays: no answer from there" in capsys.readouterr().err


def ray_error(cause):
    """As Ray wraps what a call has raised."""
    from ray.exceptions import RayTaskError

    return RayTaskError("call", "", cause).as_instanceof_cause()


@pytest.mark.parametrize("missing", ["ray", "ray.util.scheduling_strategies"])
def test_without_ray_the_message_says_how_to_install_it(monkeypatch, missing):
    """Whether all of it is missing or a part."""
    for name in [
        name
        for name in sys.modules
        if name in ("stages.runtime.on_ray", "stages.runtime.dispatch", "stages.runtime.ray_cluster")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    params = load_params().with_runtime({"engine": "ray"})
    message = r"runtime\.engine: .*pip install -e '\.\[ray\]', or set runtime\.engine to local"
    with pytest.raises(ValueError, match=message), engine(params, Counter, shards=1):
        pass


@pytest.mark.parametrize(
    "address",
    ["nonsense", "host:port", "127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1", "http://127.0.0.1:8265", ":6379", "a b:c"],
)
def test_an_address_that_is_none_is_refused_with_what_is_allowed(monkeypatch, address):
    ray_cluster = pytest.importorskip("stages.runtime.ray_cluster")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match=r"RAY_ADDRESS: got '.*'; allowed are auto, local, and host:port"):
        ray_cluster.connect()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{}", "localhost:{}", "ray://127.0.0.1:{}", "nobody.invalid:{}", "a..b:{}"]
)
def test_a_head_that_is_not_there_is_named_at_once(monkeypatch, address):
    ray_cluster = pytest.importorskip("stages.runtime.ray_cluster")
    with socket.socket() as taken:  # bound, so that nobody else takes it, and not listening
        taken.bind(("127.0.0.1", 0))
        address = address.format(taken.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ValueError, match=rf"no Ray head at RAY_ADDRESS = {address} \(.+\); start one there"):
            ray_cluster.connect()


def test_a_host_that_drops_packets_is_not_waited_for(monkeypatch):
    ray_cluster = pytest.importorskip("stages.runtime.ray_cluster")
    waited = []

    def drops(address, timeout):
        waited.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(ray_cluster.socket, "create_connection", drops)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ValueError, match=r"no Ray head at RAY_ADDRESS = 10\.0\.0\.1:6379 \(timed out\)"):
        ray_cluster.connect()
    assert waited and sum(waited) <= 30


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Failed to connect"),
        RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.1.0"),
        RuntimeError("Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n  File"),
        Exception("The current node timed out"),
        OSError(28, "No space left on device"),
        PermissionError(13, "Permission denied", "/home/somebody/.ray"),
    ],
)
@pytest.mark.parametrize("address", ["local", "auto"])
def test_whatever_ray_raises_is_one_message_with_a_remedy(monkeypatch, address, error):
    ray_cluster = pytest.importorskip("stages.runtime.ray_cluster")

    def fails(**_):
        raise error

    monkeypatch.setattr(ray_cluster.ray, "init", fails)
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "1")  # which would stay set
    with pytest.raises(ValueError, match=r"^runtime\.engine: ") as caught:
        ray_cluster.connect()
    told = str(caught.value)
    assert "Traceback" not in told and "\n" not in told
    assert str(error).split("\n")[0].split(". ")[0] in told
    assert ("RAY_TMPDIR" if address == "local" else "unset RAY_ADDRESS") in told


def test_sessions_go_where_their_sockets_fit_and_files_can_be_made(monkeypatch, tmp_path):
    ray_cluster = pytest.importorskip("stages.runtime.ray_cluster")
    short = tempfile.mkdtemp(prefix="r", dir="/tmp")
    try:
        monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'long' * 30}")
        assert ray_cluster.folder_of_sessions() == Path("/tmp/ray")
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert ray_cluster.folder_of_sessions() == Path(short) / "ray"
        monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
        assert ray_cluster.folder_of_sessions() == Path(short) / "ray"
        assert len(str(Path(short) / "ray" / ray_cluster.SOCKET)) < ray_cluster.LONGEST_SOCKET
        monkeypatch.setattr(ray_cluster.os, "access", lambda *_: False)
        with pytest.raises(
            ValueError, match=r"set RAY_TMPDIR to one that can be written to, whose path has at most \d\d"
        ):
            ray_cluster.folder_of_sessions()
    finally:
        Path(short).rmdir()
