"""dvc.yaml declares the code that its scripts import, and stages start without libraries that they do not use."""

import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from tests.imports import ROOT, closure

GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
RUNTIME = ROOT / "stages/runtime"  # no dependency: it changes no result, but for the defaults of methods
DEFAULTS = RUNTIME / "method_blocks.py"
WITH_DEFAULTS = {"adversarial", "adversarial-base", "defend"}  # stages that write out a block with its defaults
TENSORS, TABLES = {"torch", "torchvision", "open_clip", "timm"}, {"pandas", "scipy", "matplotlib"}
UNUSED = {  # by scripts of stages, of the libraries that take longest to import
    ("evaluate", "defend", "fetch"): TENSORS | TABLES,
    ("model_card", "plot"): TENSORS,
    ("attack_adaptive", "attack_oblivious", "craft", "tune"): TABLES | {"open_clip", "timm", "torchvision"},
}
PROGRAM = """
import importlib, sys
for stage in sys.argv[1:]:
    importlib.import_module(f"stages.{stage}")
print(*{name.partition(".")[0] for name in sys.modules})
"""


def script_of(stage: str) -> Path:
    """Return the script that a stage of dvc.yaml runs."""
    words = GRAPH[stage]["cmd"].split()
    return ROOT / f"{words[words.index('-m') + 1].replace('.', '/')}.py"


@pytest.mark.parametrize("stage", GRAPH)
def test_each_file_that_a_script_imports_is_a_dependency_of_its_stage(stage):
    script = script_of(stage)
    declared = {ROOT / dep for dep in GRAPH[stage]["deps"] if dep.startswith("stages")}
    files = {path for path in (script, *closure(script)) if RUNTIME not in path.parents}
    files |= {DEFAULTS} if stage in WITH_DEFAULTS else set()
    assert {path for path in files if not declared & {path, *path.parents}} == set(), "imported but not declared"
    assert {dep for dep in declared if not any(dep in (path, *path.parents) for path in files)} == set(), "not imported"


def test_the_dependencies_would_name_a_missing_and_a_superfluous_room():
    """The closure is not empty: it has files of several rooms, one imported by another and one by a function alone."""
    files = {path.relative_to(ROOT / "stages").as_posix() for path in closure(script_of("craft"))}
    assert {"crafting/feature.py", "attacks/pgd.py", "attacks/linf.py", "runtime/on_ray.py"} <= files


def test_dvc_lock_names_only_stages_of_the_graph():
    """DVC parses and writes the whole file after each stage, so that removed stages make all others slower."""
    locked = YAML(typ="safe").load(ROOT / "dvc.lock")["stages"]
    assert set(locked) <= {stage.addressing for stage in Repo(ROOT).index.stages}, "delete dvc.lock, then `dvc repro`"


@pytest.mark.parametrize("stages", UNUSED, ids="-".join)
def test_stages_start_without_libraries_that_they_may_not_need(stages):
    command = [sys.executable, "-c", PROGRAM, *stages]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not UNUSED[stages] & set(printed.split())
