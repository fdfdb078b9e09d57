"""A micro configuration of the whole pipeline for real DVC: few images and steps, reproduced once for all tests."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from tests import warm
from tests.imports import ROOT

yaml = YAML(typ="safe", pure=True)
yaml.default_flow_style = False
yaml.sort_base_mapping_type_on_output = False


class Project:
    """A copy of the repository with few images and few steps."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def run(self, *command: str, code: int = 0, timeout: int = 300) -> str:
        """Runs a command in the project, which has to end with a code, and returns what it printed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def fails(self, *command: str, code: int = 1) -> str:
        """Runs a command that has to fail as the user's error and returns what it printed."""
        return self.run(*command, code=code)

    def change(self, **values: object) -> None:
        """Changes params.yaml; `a__b` stands for a.b."""
        path = self.folder / "params.yaml"
        params = yaml.load(path)
        for key, value in values.items():
            *above, last = key.split("__")
            block = params
            for name in above:
                block = block[name]
            block[last] = value
        yaml.dump(params, path)

    def repro(self, *options: str) -> set[str]:
        """Runs `dvc repro`; returns the short names of the stages that ran."""
        return ran(self.run("dvc", "repro", *options))

    def stale(self) -> set[str]:
        """Return the short names of the stages of which a dependency, a parameter or an output has changed."""
        return short(json.loads(self.run("dvc", "status", "--json")))

    def restore(self) -> None:
        """Back to the committed state."""
        self.run("git", "checkout", "-q", ".")
        self.run("git", "clean", "-fdq")
        self.run("dvc", "checkout", "-q", "--allow-missing")

    def lock(self) -> str:
        return (self.folder / "dvc.lock").read_text()


def ran(printed: str) -> set[str]:
    """Return the short names of the stages that DVC says it has run."""
    return short(re.findall(r"Running stage '([^']+)'", printed))


def short(names: Iterable[str]) -> set[str]:
    """Return `tune-bank-advpt` for `tune-bank@fashion-all-advpt`; other data sets keep their name."""
    return {re.sub(r"@fashion(-all)?(?=-|$)", "", name) for name in names}


EMBEDDED = tuple(f"data/embedded/{name}" for name in ("fashion", "tiny-clip", "tiny-vit"))  # what the tests use
SUFFIXES = {"zero_shot": "", "tune_clean": "-clean", "tune_bank": "-bank", "refresh": "-refresh"}
SUFFIXES |= {group: f"-{group}" for group in ("adversarial", "defended")}
METHODS = (
    ("zero_shot", "zero_shot"),
    ("tune_clean", "coop"),
    ("tune_bank", "advpt"),
    ("refresh", "advpt_refreshed"),
)


ASSESS = {"method": "tune_bank/advpt", "at_eps": 4, "eps": [4, 64], "steps": [1, 2]}
ASSESS |= {"autoattack_images": 1, "queries": 5}
# one of the group `adversarial`, without which no method can be defended
PIXELS = {"pixels": {"kind": "adv_vp", "eps": [4], "epochs": 1, "tuning_seeds": 1, "lr": 0.5}}


def evaluating(group: str, method: str) -> str:
    """Return the stage that evaluates a method under the oblivious threats."""
    return f"evaluate{SUFFIXES[group]}-{group}-{method}"


def attacking(group: str, method: str, threat: str = "adaptive_eps4") -> str:
    """Return the stage that attacks a method adaptively."""
    return f"attack-adaptive{SUFFIXES[group]}-{group}-{method}-{threat}"


def judging(group: str, method: str) -> set[str]:
    """Return the stages that judge a method of the micro project."""
    return {evaluating(group, method), attacking(group, method)}


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which `python` and `dvc` start fast, bytecode is written, and git knows who commits."""
    folder = tmp_path_factory.mktemp("warm")
    address = folder / "socket"
    warm.install(folder / "bin", address)
    huge_pages = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # large images would spend half of their time on faults
    command = [sys.executable, str(ROOT / "tests/warm.py"), str(address)]
    with subprocess.Popen(command, env={**bare(), **huge_pages}) as server:
        while not address.exists():
            assert server.poll() is None
            time.sleep(0.05)
        yield {**bare(), "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        server.kill()


def bare() -> dict[str, str]:
    identity = {
        f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **identity, "DVC_NO_ANALYTICS": "1"}


def micro_project(folder: Path, environment: dict[str, str]) -> Project:
    """Make a micro project in a new folder and commit it."""
    ignored = shutil.ignore_patterns("cache", "config.local", "tmp", "__pycache__")
    for name in ("stages", *EMBEDDED, ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("dvc.yaml", "params.yaml", ".gitattributes", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    catalogue = folder / "stages/datasets/catalogue.py"
    added = '\nCATALOGUE["fashion2"] = CATALOGUE["fashion"]\n'
    catalogue.write_text(catalogue.read_text() + added)
    style = folder / "stages/report/style.py"
    style.write_text(style.read_text().replace("figure.savefig(", "Figure((1, 1)).savefig("))  # rendering is slow
    project = Project(folder, environment)
    methods = yaml.load(folder / "params.yaml")["methods"]
    kept = {group: {name: methods[group][name]} for group, name in METHODS}
    project.change(methods={group: kept.get(group, {}) for group in methods})
    project.change(data__shots=4, data__test_images=40, attack__steps=2, tune__epochs=2, tune__warmup_epochs=0)
    refreshed = {"steps": 1, "rounds": 2, "epochs": 2, "class_specific": False}
    project.change(**{f"methods__refresh__advpt_refreshed__{key}": value for key, value in refreshed.items()})
    params = yaml.load(folder / "params.yaml")
    params["oblivious"] = {name: params["oblivious"][name] for name in ("pgd_eps8", "transfer_eps8")}
    params["adaptive"] = {"adaptive_eps4": params["adaptive"]["adaptive_eps4"]}
    yaml.dump(params, folder / "params.yaml")
    project.change(oblivious__pgd_eps8__steps=2, oblivious__transfer_eps8__steps=2)
    project.change(oblivious__transfer_eps8__surrogate__epochs=1)
    few = {"steps": 2, "restarts": 1, "targets": 1, "images": 10}
    project.change(**{f"adaptive__adaptive_eps4__{key}": value for key, value in few.items()})
    project.change(assess={**ASSESS, "images": 8})
    project.run("git", "init", "-q")
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "micro")
    return project


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, environment) -> Project:
    """A micro project, committed, in which nothing has run."""
    return micro_project(tmp_path_factory.mktemp("project") / "advpt", environment)


def once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first worker to ask for it makes for all."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / f"{name}.lock"):
        if not (shared / name).exists():
            making = tmp_path_factory.mktemp("making") / name
            make(making)
            making.rename(shared / name)
    return shared / name


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory, environment) -> Project:
    """The micro project, reproduced and committed."""
    made = once(tmp_path_factory, "reproduced", lambda folder: reproduce(micro_project(folder, environment)))
    copy = tmp_path_factory.mktemp("project") / "advpt"
    shutil.copytree(made, copy, symlinks=True)
    return Project(copy, environment)


def reproduce(project: Project) -> None:
    """Run all stages of a fresh micro project and commit what they made."""
    once = {"fetch", "extract", "craft", "embed", "zero-shot-zero_shot", "tune-clean-coop", "tune-bank-advpt"}
    once |= {"refresh-advpt_refreshed", "assess", "interpret", "model-card", "plot"}
    threats = {f"attack-oblivious-{threat}" for threat in ("pgd_eps8", "transfer_eps8")}
    assert project.repro() == once | threats.union(*(judging(*method) for method in METHODS))
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "reproduced")


@pytest.fixture
def project(reproduced) -> Iterator[Project]:
    """The reproduced project, restored afterwards."""
    yield reproduced
    reproduced.restore()
