"""Cores are counted that the process may use: by affinity, and by quotas of cgroups of both versions."""

import os
import subprocess
import sys

import pytest

from stages.runtime import cores
from stages.runtime.cores import available_cores
from stages.runtime.params import load_params
from tests.imports import ROOT


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Counts on a machine of 64 cores, in control groups that are made of files."""
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 64)

    def count(groups: str, files: dict[str, str]) -> int:
        (tmp_path / "own").write_text(groups, encoding="utf-8")
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return available_cores(tmp_path / "cgroup", tmp_path / "own")

    return count


V1 = "4:cpuset:/\n3:cpu,cpuacct:/docker/1234\n1:name=systemd:/\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/job/step\n", {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "300000 100000\n"}, 3),
        ("0::/job/step\n", {"job/step/cpu.max": "200000 100000\n", "job/cpu.max": "300000 100000\n"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "500000 100000\n"}, 5),
        ("0::/../elsewhere\n", {"cpu.max": "500000 100000\n"}, 5),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        (V1, {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (V1, {"cpu/docker/1234/cpu.cfs_quota_us": "50000\n", "cpu/docker/1234/cpu.cfs_period_us": "50000\n"}, 1),
        ("", {}, 64),
    ],
)
def test_quotas_of_the_group_and_of_those_around_it_count(machine, groups, files, count):
    assert machine(groups, files) == count


def test_without_control_groups_and_affinity_all_cores_count(tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(cores.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: None)
    assert available_cores(tmp_path, tmp_path / "own") == 1
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 12)
    assert available_cores(tmp_path, tmp_path / "own") == 12


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system knows no affinity")
def test_workers_follow_the_affinity_of_the_process():
    program = """
import os
from stages.crafting.batching import processes_on
from stages.runtime.params import load_params
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
runtime = load_params().runtime.model_copy(update={"engine": "ray"})
print(runtime.workers_on("cpu"), runtime.workers_on("cuda"), processes_on(runtime, "cpu"))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "2", "1"]


def test_workers_that_are_stated_are_taken():
    assert load_params().runtime.model_copy(update={"workers": 500}).workers_on("cpu") == 500
