"""Damaged files of all kinds, the same in every run: each is refused by its name, or holds what it held.

The readers run in a process of their own with a limit of memory and time, so that a crash of Pillow, Arrow or
safetensors is a failure that names the file.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch

from stages.models.clip import load_clip, weights_digest
from stages.models.weights import find_source
from tests.fuzz.limits import refused
from tests.fuzz.mutations import mutated
from tests.imports import ROOT

pytestmark = pytest.mark.reliability
IMAGES, ARTEFACTS, WEIGHTS, LOADED = 10_000, 3000, 250, 60
PATIENCE = 120  # seconds for a process that takes less than ten
TINY = ROOT / "data/embedded/tiny-clip"
FILE = "open_clip_model.safetensors"


def figures_of(module: str, folder: Path, count: int) -> dict[str, int]:
    """Runs a module of tests.fuzz, which sees every warning, and in which Arrow's memory is the system's and counts."""
    command = [sys.executable, "-W", "always", "-m", f"tests.fuzz.{module}", str(folder), str(count)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=PATIENCE,
    )
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"{command} ended with {done.returncode} at {last}:\n{done.stderr[-3000:]}"
    return json.loads(last[0])


@pytest.mark.parametrize(("module", "count"), [("images", IMAGES), ("artefacts", ARTEFACTS)])
def test_a_damaged_file_is_refused_by_its_name_or_read_whole(tmp_path, record_property, module, count):
    figures = figures_of(module, tmp_path, count)
    for name, value in sorted(figures.items()):
        record_property(name, value)
    assert sum(value for name, value in figures.items() if name.endswith("tried")) == count
    decoded = figures.get("images decoded", 0)
    assert module != "images" or count / 10 < decoded < count / 2  # damage of both kinds: harmless, and not


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "clip"))


def load(folder: Path, sha256: str) -> object:
    return load_clip(f"local-dir:{folder}", pretrained=None, sha256=sha256, device=torch.device("cpu"))


def damaged_files(folder: Path, count: int, *, start: int):
    """Writes one damaged file of weights after another."""
    content, others = (TINY / FILE).read_bytes(), [(TINY / "open_clip_config.json").read_bytes()]
    for index in range(count):
        (folder / FILE).write_bytes(mutated(content, Random(start + index), others))
        yield index


def test_damaged_weights_are_refused_by_their_digest(folder, record_property):
    whole = weights_digest(f"local-dir:{folder}", None)
    for index in damaged_files(folder, WEIGHTS, start=0):
        said = refused(lambda: load(folder, whole), folder)
        assert said and ("is expected" in said or "holds no weights" in said), index
    record_property("weights tried", WEIGHTS)
    record_property("weights refused", WEIGHTS)


def test_damaged_weights_whose_digest_is_stated_are_refused_or_finite(folder, record_property):
    """As if somebody had published them so: the parser of safetensors and open_clip see them."""
    loaded = 0
    for index in damaged_files(folder, LOADED, start=WEIGHTS):
        digest = find_source(f"local-dir:{folder}", None).digest
        found = []
        said = refused(lambda digest=digest, found=found: found.append(load(folder, digest)), folder)
        assert said or all(weight.isfinite().all() for weight in found[0].model.state_dict().values()), index
        loaded += not said
    record_property("weights with a digest tried", LOADED)
    record_property("weights with a digest refused", LOADED - loaded)
    record_property("weights with a digest read", loaded)
