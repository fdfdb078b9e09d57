"""Shards on a real Ray cluster of several nodes: the bytes of the local engine, whoever dies on the way."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from stages.runtime.engine import ShardFolder, WorkerFacts, engine
from stages.runtime.params import Params, load_params
from stages.storage import layout
from stages.storage.images import Images, read_images
from stages.storage.parquet import write_table
from tests.imports import ROOT
from tests.reliability.small import Small
from tests.runtime.test_engine import assert_chosen_are_numbered_anew

ray = pytest.importorskip("ray")
BANK = layout.bank_images("fashion")
NODES, WORKER_KILLS, NODE_KILLS = 3, 20, 3
STAGES = [
    ("craft", "fashion"),
    ("embed", "fashion"),
    ("attack_oblivious", "fashion", "pgd_eps8"),
    ("attack_oblivious", "fashion", "transfer_eps8"),
    ("refresh", "fashion", "all", "advpt_refreshed"),
    ("attack_adaptive", "fashion", "all", "tune_bank", "advpt", "adaptive_eps4"),
    ("assess", "fashion"),
    ("evaluate_images", "fashion", "all", "adversarial", "adv_vlp"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator:
    """Three nodes of one CPU each, which inherit this environment, and a head that takes no work."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray spells it
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def on_ray(small: Small, cluster, *stage: str) -> subprocess.Popen:
    """Starts a stage whose engine is that cluster."""
    return begin(small, *stage, RAY_ADDRESS=cluster.address)


def begin(small: Small, *stage: str, **environment: str) -> subprocess.Popen:
    """Starts a stage whose engine is the Ray cluster that the environment says."""
    small.params["runtime"] |= {"engine": "ray", "device": "cpu"}
    small.write_params()
    environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]]
    return subprocess.Popen(
        command, cwd=small.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen, *, code: int = 0) -> str:
    """What a stage says, which has to end with that code."""
    said, _ = process.communicate(timeout=900)
    assert process.returncode == code, said
    return said


def processes(cluster) -> list[psutil.Process]:
    """Return the processes of the actors, which have a model or are loading one."""
    raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in cluster.list_all_nodes()]
    return [child for raylet in raylets for child in raylet.children(recursive=True) if is_actor(child)]


def is_actor(process: psutil.Process) -> bool:
    try:
        return any(part.startswith("ray::Actor") for part in process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def undisturbed_craft(undisturbed, tmp_path_factory) -> tuple[Small, dict[str, str]]:
    """A run whose bank is still to be made, of twelve shards that take some seconds each; and what it comes to."""
    small = undisturbed.copy(tmp_path_factory.mktemp("long") / "run")
    small.remove("craft", "fashion")
    small.params["attack"]["steps"] = 250
    small.write_params()
    small.run("craft", "fashion")
    expected = crafted(small)
    small.remove("craft", "fashion")
    return small, expected


@pytest.fixture
def long_craft(undisturbed_craft, tmp_path) -> tuple[Small, dict[str, str]]:
    """A copy of it."""
    small, expected = undisturbed_craft
    return small.copy(tmp_path / "run"), expected


def crafted(small: Small) -> dict[str, str]:
    """Return the digests of the bank's images."""
    return {name: digest for name, digest in small.digests().items() if Path("data", name).is_relative_to(BANK)}


def test_a_cluster_makes_the_same_bytes(undisturbed, small, cluster):
    expected = small.digests()
    for stage in STAGES:
        small.remove(*stage)
    for stage in STAGES:
        said = finish(on_ray(small, cluster, *stage))
        assert f"{stage[0]} fashion" in said
    assert small.digests() == expected and small.temporary() == []


def test_killed_workers_cost_time_alone(long_craft, cluster, record_property):
    """At random moments, some while they load the model; every shard is there, once, with its bytes."""
    small, expected = long_craft
    chance, kills = random.Random(0), 0
    while kills < WORKER_KILLS:
        process = on_ray(small, cluster, "craft", "fashion")
        while process.poll() is None:
            time.sleep(chance.uniform(2, 6))
            if (found := processes(cluster)) and kills < WORKER_KILLS:
                chance.choice(found).kill()
                kills += 1
        said = finish(process)
        assert "n = 60" in said and crafted(small) == expected, said
        small.remove("craft", "fashion")
    record_property("killed workers of a Ray cluster", kills)


def test_lost_nodes_cost_time_alone(long_craft, cluster, record_property):
    """Each with all that runs there; another one comes in its place, but not for the last: its worker never returns."""
    small, expected = long_craft
    lost = 0
    while lost < NODE_KILLS:
        process = on_ray(small, cluster, "craft", "fashion")
        while process.poll() is None:
            time.sleep(4)
            if lost < NODE_KILLS and processes(cluster):
                cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
                lost += 1
                if lost < NODE_KILLS:
                    cluster.add_node(num_cpus=1)
        said = finish(process)
        assert "n = 60" in said and crafted(small) == expected, said
        small.remove("craft", "fashion")
    record_property("killed nodes of a Ray cluster", lost)
    cluster.add_node(num_cpus=1)


def test_a_killed_driver_goes_on(long_craft, cluster):
    small, expected = long_craft
    process = on_ray(small, cluster, "craft", "fashion")
    pieces = small.folder / BANK.parent / f".{BANK.name}.partial"
    while not list(pieces.rglob("[!.]*.parquet")):
        assert process.poll() is None
        time.sleep(0.2)
    process.kill()
    process.wait()
    said = finish(on_ray(small, cluster, "craft", "fashion"))
    assert "of 12 shards from an interrupted run" in said and crafted(small) == expected, said


def test_a_damaged_shard_stops_the_run_with_its_name(small, cluster):
    small.remove("craft", "fashion")
    path = sorted((small.folder / layout.clean_images("fashion", "train")).glob("*.parquet"))[7]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said = finish(on_ray(small, cluster, "craft", "fashion"), code=1)
    assert str(path.relative_to(small.folder)) in said and "Traceback" not in said


@pytest.fixture
def params(cluster, monkeypatch) -> Params:
    """Parameters whose engine is the cluster, for workers that need no model."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return load_params().with_runtime({"engine": "ray", "device": "cpu"})


class Reader:
    """A worker that reads ids."""

    def __init__(self, params: Params, folder: Path | None = None, note: Callable[[], str] = str) -> None:
        self.ids = [id for shard in read_images(folder) for id in shard.ids] if folder else []
        self.facts = WorkerFacts("cpu", note=note())

    def write(self, path: Path, shard_index: int, shard: Images, killer: int = -1) -> None:
        """Write the ids of a shard; die of one of the shards."""
        if shard_index == killer:
            os._exit(1)
        write_table(path, [pa.table({"id": shard.ids})], {"index": shard_index})

    def ids_of(self, folder: Path) -> tuple[list[str], list[str]]:
        """Return the ids that the worker has read at its start, and those of a folder."""
        return self.ids, [id for shard in read_images(folder) for id in shard.ids]

    def wait(self) -> None:
        """Take a moment."""
        time.sleep(0.05)

    def die(self) -> None:
        """End the process."""
        os._exit(1)


def test_chosen_shards_are_numbered_anew_and_finished_files_kept(params, source, shard, tmp_path):
    with engine(params, Reader, shards=2) as run:
        assert_chosen_are_numbered_anew(run, Reader.write, source, shard, tmp_path / "out")


def test_workers_get_copies_of_a_folder_of_shards(params, source, shard):
    with engine(params, Reader, ShardFolder(source), shards=1) as run:
        assert run.call(Reader.ids_of, ShardFolder(source)) == (shard.ids, shard.ids)
        path = source / "00002.parquet"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ValueError, match=str(path)):
            run.call(Reader.ids_of, ShardFolder(source))


def test_a_shard_that_kills_every_worker_is_named(params, source, tmp_path):
    with engine(params, Reader, shards=4) as run:
        with pytest.raises(ValueError, match=r"00002\.parquet: its process has died 6 times"):
            run.map(partial(Reader.write, killer=2), source, tmp_path / "out", what="test")
        with pytest.raises(ValueError, match="die: its process has died 6 times"):
            run.call(Reader.die)


def test_a_worker_unlike_the_first_is_refused(params):
    """Its facts, code or libraries differ, so that its bytes might differ, too."""
    make_worker = partial(Reader, note=lambda: str(os.getpid()))
    refused = pytest.raises(ValueError, match="made_by differ from those of the first worker")
    with refused, engine(params, make_worker, shards=2) as run:
        for _ in range(1000):  # until the second worker is there
            run.call(Reader.wait)


@pytest.mark.parametrize("error", [ValueError("no such model"), OSError("no such driver")])
def test_a_worker_that_cannot_be_loaded_is_one_message(params, error):
    def fails() -> str:
        raise error

    message = f"^{error}$" if isinstance(error, ValueError) else f"{socket.gethostname()}: .*{error}"
    with pytest.raises(ValueError, match=message), engine(params, partial(Reader, note=fails), shards=2):
        pass


@pytest.mark.parametrize("folder", ["a_job_of_a_batch_system/" * 6, "no_such_folder"])
def test_a_temporary_folder_that_will_not_do_is_no_obstacle(small, tmp_path, folder):
    """Neither one whose name is too long for a socket nor one that is not there."""
    expected = crafted(small)
    small.remove("craft", "fashion")
    place = tmp_path / folder
    if len(folder) > 100:
        place.mkdir(parents=True)
    finish(begin(small, "craft", "fashion", TMPDIR=str(place), RAY_ADDRESS=""))
    assert crafted(small) == expected


def test_a_port_that_is_no_head_is_told_within_a_minute(small):
    """It accepts connections, and never says a word."""
    small.remove("craft", "fashion")
    with socket.create_server(("", 0)) as mute:
        address, start = f"127.0.0.1:{mute.getsockname()[1]}", time.monotonic()
        said = finish(begin(small, "craft", "fashion", RAY_ADDRESS=address), code=1)
    assert f"no connection to a Ray cluster at RAY_ADDRESS = {address}" in said and "Traceback" not in said
    assert time.monotonic() - start < 60


def test_a_head_of_another_ray_is_refused_with_both_versions(small, tmp_path):
    small.remove("craft", "fashion")
    port = free_port()
    program = "import ray; ray.__version__ = '2.1.0'; from ray.scripts.scripts import main; main()"
    arguments = ["start", "--head", "--block", f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": tempfile.mkdtemp(prefix="r", dir="/tmp")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment, **quiet) as head:
        try:
            wait_for(port)
            process = begin(small, "craft", "fashion", RAY_ADDRESS=f"127.0.0.1:{port}", RAY_AUTH_MODE="disabled")
            said = finish(process, code=1)
        finally:
            head.terminate()
    shutil.rmtree(environment["RAY_TMPDIR"], ignore_errors=True)
    assert "Version mismatch" in said and "Ray: 2.1.0" in said and ray.__version__ in said and "Traceback" not in said


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(port: int) -> None:
    """Returns once somebody listens there."""
    for _ in range(150):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"no server on port {port} after 30 s")
