"""The engine of one process, and how Ray is reached; tests/reliability/test_ray.py tests the engine on Ray."""

import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from stages.runtime.engine import Local, ShardFolder, WorkerFacts, engine
from stages.runtime.params import load_params
from stages.storage.images import read_ids
from stages.storage.parquet import read_table, write_table


class Counter:
    """A worker that writes the ids of a shard."""

    facts = WorkerFacts("cpu")

    def __init__(self) -> None:
        self.made = []

    def repeat(self, word):
        return word

    def write_ids(self, path, shard_index, shard):
        self.made.append(shard_index)
        write_table(path, [pa.table({"id": shard.ids})], {"index": shard_index})


@pytest.fixture
def ray_cluster():
    return pytest.importorskip("stages.runtime.ray_cluster")


def assert_chosen_are_numbered_anew(run, write, source, shard, out):
    """Shards 1 and 3 become files 0 and 1; a file that is there is kept."""
    written = run.map(write, source, out, what="test", chosen=[1, 3])
    assert (written.images, len(written.paths), written.kept) == (6, 2, 0)
    found = [read_table(path) for path in written.paths]
    assert [table["id"].to_pylist() for table, _ in found] == [shard.ids[3:6], shard.ids[9:12]]
    assert [provenance for _, provenance in found] == [{"index": 0}, {"index": 1}]
    written.paths[0].unlink()
    again = run.map(write, source, out, what="test", chosen=[1, 3])
    assert (again.images, again.paths, again.kept) == (6, written.paths, 1)


def test_chosen_shards_are_numbered_anew_and_finished_files_kept(source, shard, tmp_path):
    worker = Counter()
    assert_chosen_are_numbered_anew(Local(worker), Counter.write_ids, source, shard, tmp_path / "out")
    assert worker.made == [0, 1, 0]


def test_behind_the_last_chosen_shard_nothing_is_read(source, tmp_path):
    last = source / "00003.parquet"
    last.write_bytes(last.read_bytes()[:-9])
    run = Local(Counter())
    assert run.map(Counter.write_ids, source, tmp_path / "out", what="test", chosen=[0]).images == 3
    with pytest.raises(ValueError, match=r"00003\.parquet"):
        run.map(Counter.write_ids, source, tmp_path / "all", what="test")


def test_one_worker_is_loaded_with_the_parameters():
    with engine(load_params(), lambda params: Counter(), shards=3) as run:
        assert run.facts == WorkerFacts("cpu") and run.call(Counter.repeat, "a") == "a"


def test_a_worker_gets_a_folder_of_shards_as_a_path(tmp_path):
    folder = ShardFolder(tmp_path)
    with engine(load_params(), lambda params, path: SimpleNamespace(facts=path), folder, shards=1) as run:
        assert run.facts == tmp_path and run.call(lambda worker, path: path, folder) == tmp_path


def test_a_sealed_file_of_another_kind_has_no_labels(tmp_path):
    write_table(tmp_path / "a.parquet", [pa.table({"id": ["x"]})], {})
    with pytest.raises(ValueError, match=r"a\.parquet: of another kind, no column label"):
        read_ids(tmp_path / "a.parquet")


@pytest.mark.parametrize("missing", ["ray", "ray.exceptions"])
def test_without_ray_the_message_says_how_to_install_it(monkeypatch, missing):
    """Whether all of it is missing or a part."""
    pytest.importorskip("ray")  # whole, before a part of it is taken away
    for name in ("stages.runtime.on_ray", "stages.runtime.ray_cluster"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    params = load_params().with_runtime({"engine": "ray"})
    message = r"runtime\.engine: .*pip install -e '\.\[ray\]', or set runtime\.engine to local"
    with pytest.raises(ValueError, match=message), engine(params, Counter, shards=1):
        pass


@pytest.mark.parametrize(
    "address",
    ["nonsense", "host:port", "127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1", "http://127.0.0.1:8265", ":6379", "a b:c"],
)
def test_an_address_that_is_none_is_refused_with_what_is_allowed(ray_cluster, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match=r"RAY_ADDRESS: got '.*'; allowed are auto, local, and host:port"):
        ray_cluster.connect()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{}", "localhost:{}", "ray://127.0.0.1:{}", "nobody.invalid:{}", "a..b:{}"]
)
def test_a_head_that_is_not_there_is_named_at_once(ray_cluster, monkeypatch, address):
    with socket.socket() as taken:  # bound, so that nobody else takes it, and not listening
        taken.bind(("127.0.0.1", 0))
        address = address.format(taken.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ValueError, match=rf"no Ray head at RAY_ADDRESS = {address} \(.+\); start one there"):
            ray_cluster.connect()


def test_a_host_that_drops_packets_is_not_waited_for(ray_cluster, monkeypatch):
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
def test_whatever_ray_raises_is_one_message_with_a_remedy(ray_cluster, monkeypatch, address, error):

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


def test_sessions_go_where_their_sockets_fit_and_files_can_be_made(ray_cluster, monkeypatch):
    short = tempfile.mkdtemp(prefix="r", dir="/tmp")
    try:
        monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'long' * 30}")
        assert ray_cluster.folder_of_sessions() == Path("/tmp/ray")
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert ray_cluster.folder_of_sessions() == Path(short) / "ray"
        monkeypatch.setattr(tempfile, "tempdir", "/")
        monkeypatch.setenv("RAY_TMPDIR", short)
        assert ray_cluster.folder_of_sessions() == Path(short) / "ray"
        assert len(str(Path(short) / "ray" / ray_cluster.SOCKET)) < ray_cluster.LONGEST_SOCKET
        monkeypatch.setattr(ray_cluster.os, "access", lambda *_: False)
        with pytest.raises(
            ValueError, match=r"set RAY_TMPDIR to one that is there and can be written to, whose path has at most \d\d "
        ):
            ray_cluster.folder_of_sessions()
    finally:
        Path(short).rmdir()


@pytest.mark.parametrize("folder", ["/nonexistent", "/proc/nowhere", f"/tmp/{'long' * 30}", "README.md"])
def test_a_folder_for_sessions_that_will_not_do_is_refused_by_name(ray_cluster, monkeypatch, folder):
    monkeypatch.setenv("RAY_TMPDIR", folder)
    with pytest.raises(ValueError, match=f"no folder for its files at RAY_TMPDIR = {folder}; set RAY_TMPDIR to one"):
        ray_cluster.folder_of_sessions()
