"""CONTRIBUTING.md: the files that it names exist; its example applies to the source, passes its tests and runs."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.storage.images import images_provenance, read_all_images
from tests.imports import ROOT
from tests.micro import Project

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DIFF = re.search("```diff\n(.*?)```", TEXT, re.DOTALL)[1]
COMMANDS = re.search("<!-- example -->\n```bash\n(.*?)```", TEXT, re.DOTALL)[1]


def test_files_and_names_in_it_exist():
    files = re.findall(r"`((?:stages|tests)/[\w./]+)`", TEXT)
    names = re.findall(r"`(\w+)` of `(stages/[\w/]+)\.py`", TEXT)
    assert files and names
    assert [name for name in files if not (ROOT / name).exists() and name not in DIFF] == []
    modules = {path: importlib.import_module(path.replace("/", ".")) for _, path in names}
    assert [name for name, path in names if not hasattr(modules[path], name)] == []


def test_its_example_applies_to_the_source_as_it_is():
    apply(ROOT, "--check")


@pytest.fixture(scope="module")
def example(fresh) -> Project:
    """The micro project with the tests and the example in it; before, the new objective is unknown."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests", fresh.folder / "tests", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", fresh.folder)
    fresh.change(attack__objective="l1")
    assert "attack.objective: " in fresh.fails("python", "-m", "stages.craft", "fashion")
    apply(fresh.folder, "--exclude=params.yaml")  # whose comments the micro project has not
    return fresh


@pytest.mark.reliability
def test_the_tests_of_its_example_pass(example):
    assert COMMANDS.strip()
    for line in COMMANDS.splitlines():
        name, *arguments = line.split()
        assert name == "pytest"
        printed = example.run(sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *arguments)
        assert re.search("^[2-9] passed", printed, re.MULTILINE), printed
    changed = re.findall(r"^\+\+\+ b/(.*\.py)$", DIFF, re.MULTILINE)
    assert len(changed) == 4
    example.run("ruff", "check", *changed)
    example.run("ruff", "format", "--check", *changed)


@pytest.mark.reliability
def test_its_example_crafts_another_bank(example):
    assert example.repro("craft@fashion") == {"code", "fetch", "extract", "craft"}
    bank = example.folder / "data/bank/fashion/images"
    assert images_provenance(bank)["attack"]["objective"] == "l1"
    clean = read_all_images(example.folder / "data/clean/fashion/train/images").pixels.astype(int)
    by_l1 = read_all_images(bank).pixels
    assert abs(by_l1 - clean).max() == 8
    example.change(attack__objective="l2")
    assert example.repro("craft@fashion") == {"craft"}
    assert (read_all_images(bank).pixels != by_l1).any() and np.shape(by_l1) == clean.shape


def apply(folder: Path, *options: str) -> None:
    """Applies the example as the page says."""
    command = ["git", "apply", *options, "-"]
    done = subprocess.run(command, input=DIFF, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
