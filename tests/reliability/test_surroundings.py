"""Without a network, without git, with little memory, beside a run that is still writing."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.storage.files import claiming
from tests.imports import ROOT
from tests.reliability.small import ORDER, Small, outs_of

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
PATIENCE = 120  # seconds; a stage takes a few
WRITING = [stage for stage in ORDER if stage[0] != "fetch"]


def test_nothing_of_the_default_needs_a_network(tmp_path, monkeypatch):
    """Every stage in a name space that has no network at all, not even to itself."""
    small, system = Small.at(tmp_path / "run"), ctypes.CDLL(None, use_errno=True)
    if not (pid := os.fork()):
        os._exit(0 if system.unshare(NEW_USER | NEW_NETWORK) == 0 else 1)
    if os.waitpid(pid, 0)[1]:
        pytest.skip("no right to make a name space here")
    inside = os.chdir
    monkeypatch.setattr(os, "chdir", lambda path: system.unshare(NEW_USER | NEW_NETWORK) or inside(path))
    for stage in ORDER:
        small.run(*stage)


@pytest.mark.parametrize("stage", WRITING, ids="-".join)
def test_a_stage_beside_itself_says_so_at_once(small, stage):
    expected = small.digests()
    out = sorted(outs_of(*stage))[0]
    with claiming(small.folder / "data" / out):
        message = small.run(*stage, code=1)
    assert message == f"error: data/{out}: another run is writing there; wait for it, or stop it"
    assert small.digests() == expected


@pytest.mark.parametrize(
    "stage",
    [
        ("craft", "fashion"),
        ("embed", "fashion"),
        ("attack_adaptive", "fashion", "all", "tune_bank", "advpt", "adaptive_eps4"),
    ],
)
def test_little_memory_costs_nothing_that_was_there(small, stage, monkeypatch):
    """From a little more than the process has already up to enough. Libraries may die of it, but blame no file.

    Or wait: Python does so forever for a thread that lacked the memory to begin. That is rare, so not twice in a row.
    """
    expected, inside = small.digests(), os.chdir
    taken = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    for more in (2**24, 2**26, 2**28, 2**32):

        def limited(path: Path, most: int = taken + more) -> None:
            signal.alarm(PATIENCE)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            inside(path)

        monkeypatch.setattr(os, "chdir", limited)
        small.said(stage[0]).write_text("died", encoding="utf-8")
        code, said = small.finish(*stage)
        if code == -signal.SIGALRM:
            code, said = small.finish(*stage)
        assert code != -signal.SIGALRM, f"hangs with {more} bytes more"
        assert "damaged" not in said and "delete" not in said, said
        assert {name: digest for name, digest in small.digests().items() if ".partial" not in name} == expected
    assert code == 0 and small.temporary() == []


def test_without_git_one_setting_of_dvc_is_enough(tmp_path):
    """What the README says; DVC's own message without it is that the folder is no git repository."""
    small = Small.at(tmp_path / "run")
    for name in ("stages", ".dvc"):
        shutil.copytree(ROOT / name, small.folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, small.folder / name)

    def dvc(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=small.folder, capture_output=True, text=True, check=False)

    assert "not a git repository" in dvc("repro", "fetch@fashion").stderr
    assert dvc("config", "core.no_scm", "true").returncode == 0
    assert "wrote data/index/fashion.parquet" in dvc("repro", "fetch@fashion").stdout
