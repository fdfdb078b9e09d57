"""The whole, with real DVC, on a micro configuration: what runs when something changes, and that bytes repeat."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from tests import warm
from tests.imports import ROOT

yaml = YAML()
PROMPTS_AND_ROWS = {
    "tune",
    "evaluate-clean",
    "evaluate-pgd_eps8",
    "evaluate-transfer_eps8",
    "adapt-adaptive_eps4",
    "plot",
}


class Project:
    """A copy of the repository with few images and few steps."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def run(self, *command: str) -> str:
        """Runs a command in the project and returns what it printed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

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

    def restore(self) -> None:
        """Back to the committed state."""
        self.run("git", "checkout", "-q", ".")
        self.run("dvc", "checkout", "-q")

    def lock(self) -> str:
        return (self.folder / "dvc.lock").read_text()


def ran(printed: str) -> set[str]:
    """`craft-test-pgd_eps8` for "Running stage 'craft-test@fashion-pgd_eps8'"; other data sets keep their name."""
    names = re.findall(r"Running stage '([^']+)'", printed)
    return {re.sub(r"@fashion$", "", name).replace("@fashion-", "-") for name in names}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which `python` starts fast, bytecode caches are written, and git knows who commits."""
    folder = tmp_path_factory.mktemp("warm")
    address = folder / "socket"
    warm.install(folder / "bin", address)
    with subprocess.Popen([sys.executable, str(ROOT / "tests/warm.py"), str(address)], env=bare()) as server:
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


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, environment) -> Project:
    """A micro project, committed, in which nothing has run."""
    folder = tmp_path_factory.mktemp("project") / "advpt"
    ignored = shutil.ignore_patterns("cache", "tmp", "__pycache__", "make.py")
    for name in ("stages", "data/embedded", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    catalogue = folder / "stages/datasets/catalogue.py"
    added = '\nCATALOGUE["fashion2"] = CATALOGUE["fashion"]\n'
    catalogue.write_text(catalogue.read_text() + added)
    project = Project(folder, environment)
    project.change(data__shots=4, data__test_images=40, attack__steps=2, tune__epochs=2, tune__warmup_epochs=0)
    params = yaml.load(folder / "params.yaml")
    params["oblivious"] = {name: params["oblivious"][name] for name in ("pgd_eps8", "transfer_eps8")}
    params["adaptive"] = {"adaptive_eps4": params["adaptive"]["adaptive_eps4"]}
    yaml.dump(params, folder / "params.yaml")
    project.change(oblivious__pgd_eps8__steps=2, oblivious__transfer_eps8__steps=2, adaptive__adaptive_eps4__steps=2)
    project.change(adaptive__adaptive_eps4__images=10, oblivious__transfer_eps8__surrogate__epochs=1)
    project.run("git", "init", "-q")
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "micro")
    return project


@pytest.fixture(scope="module")
def reproduced(fresh) -> Project:
    """The micro project, reproduced and committed."""
    once = {"fetch", "extract", "craft", "embed", "hand", "tune", "tune-clean", "evaluate-clean", "plot"}
    threats = ("pgd_eps8", "transfer_eps8")
    per_threat = {f"{stage}-{threat}" for stage in ("craft-test", "embed-test", "evaluate") for threat in threats}
    assert fresh.repro() == {*once, *per_threat, "adapt-adaptive_eps4"}
    fresh.run("git", "add", ".")
    fresh.run("git", "commit", "-qm", "reproduced")
    return fresh


@pytest.fixture
def project(reproduced) -> Iterator[Project]:
    """The reproduced project, restored afterwards."""
    yield reproduced
    reproduced.restore()


def test_a_second_time_nothing_runs_and_nothing_differs(project):
    assert project.repro() == set()
    assert project.run("git", "status", "--porcelain") == ""
    assert "up to date" in project.run("dvc", "status")


def test_forced_with_other_batches_and_workers_the_bytes_are_the_same(project):
    before = project.lock()
    project.change(runtime__batch_size=20, runtime__workers=3)
    assert project.repro() == set()
    assert len(project.repro("-f")) == 16
    assert project.lock() == before
    assert "params.yaml" in project.run("git", "status", "--porcelain")
    assert "reports" not in project.run("git", "status", "--porcelain")


def test_another_eps_of_the_bank_reruns_what_depends_on_it(project):
    printed = project.run("dvc", "exp", "run", "-n", "eps4", "-S", "attack.eps=4")
    assert ran(printed) == {"craft", "embed", *PROMPTS_AND_ROWS}
    changes = json.loads(project.run("dvc", "metrics", "diff", "--json"))
    assert any("advpt" in key for metrics in changes.values() for key in metrics)
    project.run("dvc", "plots", "diff", "HEAD", "eps4", "-o", "compared")
    page = (project.folder / "compared/index.html").read_text()
    assert "eps4" in page and "accuracy.csv" in page


def test_one_threat_reruns_itself_and_the_report(project):
    project.change(oblivious__pgd_eps8__steps=3)
    assert project.repro() == {"craft-test-pgd_eps8", "embed-test-pgd_eps8", "evaluate-pgd_eps8", "plot"}


def test_one_adaptive_threat_reruns_itself_and_the_report(project):
    project.change(adaptive__adaptive_eps4__eps=2)
    assert project.repro() == {"adapt-adaptive_eps4", "plot"}


def test_a_new_threat_reruns_nothing_that_exists(project):
    project.change(
        oblivious__pgd_eps2={"method": "feature_pgd", "objective": "kl", "eps": 2, "steps": 1, "step_ratio": 1.0}
    )
    assert project.repro() == {"craft-test-pgd_eps2", "embed-test-pgd_eps2", "evaluate-pgd_eps2", "plot"}


def test_a_new_data_set_reruns_nothing_that_exists(project):
    project.change(datasets=["fashion", "fashion2"])
    names = project.repro()
    assert all("@fashion2" in name for name in names - {"plot"}) and "plot" in names and len(names) == 16
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert set(metrics) == {"fashion", "fashion2"}


def test_tuning_crafts_no_oblivious_image_again(project):
    project.change(tune__lr=0.02)
    assert project.repro() == {"tune-clean", *PROMPTS_AND_ROWS}


def test_stored_adversarial_images_are_inside_the_ball(project):
    from stages.banks.images import images_provenance, read_all_images

    data = project.folder / "data"
    pairs = [("bank/fashion/images", "train", 8), ("test/fashion/pgd_eps8/images", "test", 8)]
    pairs += [
        ("test/fashion/transfer_eps8/images", "test", 8),
        ("test/fashion/adaptive_eps4/images/advpt-0", "test", 4),
    ]
    for path, split, eps in pairs:
        stored, clean = read_all_images(data / path), read_all_images(data / "clean/fashion" / split / "images")
        origin = dict(zip(clean.ids, clean.pixels.astype(int), strict=True))
        moved = max(
            abs(pixels - origin[id]).max() for id, pixels in zip(stored.ids, stored.pixels.astype(int), strict=True)
        )
        assert moved == eps, path
        assert images_provenance(data / path)["attack"]["eps"] == eps


def test_a_foreign_bank_is_refused_and_nothing_overwritten(project):
    prompts = project.folder / "data/prompts/fashion/advpt/prompts.safetensors"
    before = prompts.read_bytes()
    project.change(attack__eps=4)
    done = subprocess.run(
        ["python", "-m", "stages.tune", "fashion", "advpt"],
        cwd=project.folder, env=project.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "embeddings.parquet: made with attack" in done.stderr and "Traceback" not in done.stderr
    assert prompts.read_bytes() == before


def test_a_damaged_bank_is_refused_and_nothing_overwritten(project):
    bank = project.folder / "data/bank/fashion/embeddings.parquet"
    prompts = project.folder / "data/prompts/fashion/advpt/prompts.safetensors"
    before, content = prompts.read_bytes(), bytearray(bank.read_bytes())
    content[len(content) // 2] ^= 1
    bank.unlink()  # it may be a link into the cache
    bank.write_bytes(content)
    done = subprocess.run(
        ["python", "-m", "stages.tune", "fashion", "advpt"],
        cwd=project.folder, env=project.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    bank.unlink()
    assert done.returncode == 1 and "embeddings.parquet: damaged" in done.stderr
    assert prompts.read_bytes() == before


def test_the_readme_uses_the_prompts_without_this_project(project, monkeypatch):
    from stages.banks.bank import read_bank
    from stages.banks.table import read_table

    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert "stages" not in code
    bank, _ = read_bank(project.folder / "data/clean/fashion/test/features.parquet")
    names = {"features": torch.from_numpy(bank.embeddings)}
    monkeypatch.chdir(project.folder)
    exec(code, names)
    rows = read_table(project.folder / "data/rows/fashion/clean.parquet")[0].to_pandas()
    first = rows[(rows["prompt"] == "advpt") & (rows["seed"] == 0)]
    assert first["id"].tolist() == bank.ids
    assert first["prediction"].tolist() == names["probabilities"].argmax(-1).tolist()
    torch.testing.assert_close(names["probabilities"].sum(-1), torch.ones(len(bank.ids)))
