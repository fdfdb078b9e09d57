"""The walls of the house: who may import whom, and that dvc.yaml says what the code does."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.code import CHANGES_NOTHING, STAGES, closure, digests_of, imported_files, scripts
from tests.imports import ROOT, imported_libraries

ROOMS = sorted(path.name for path in STAGES.iterdir() if (path / "__init__.py").is_file())
RUNNABLE = sorted(path for path in STAGES.glob("*.py") if "if __name__" in path.read_text(encoding="utf-8"))
TOOLS = [STAGES / "predict.py"]  # for whoever has prompts; no stage, for it makes nothing
SCRIPTS = [path for path in RUNNABLE if path not in TOOLS]
GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
TENSOR_LIBRARIES = {"torch", "torchvision", "open_clip"}


def script_of(stage: str) -> Path:
    """The script that a stage of dvc.yaml runs."""
    return STAGES / f"{GRAPH[stage]['cmd'].split()[2].removeprefix('stages.')}.py"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_other_room_and_no_stage(room):
    for path in (STAGES / room).rglob("*.py"):
        assert {found.parent for found in imported_files(path)} <= {path.parent}, path


@pytest.mark.parametrize("script", RUNNABLE, ids=lambda path: path.stem)
def test_a_stage_imports_no_stage(script):
    assert not closure(script) & set(RUNNABLE)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_a_tool_makes_nothing(tool):
    """It neither writes a file nor calls what does; else it would have to be a stage."""
    own = [path for path in (tool, *closure(tool)) if path.parent == STAGES]
    called = {node.func for path in own for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    names = {ast.unparse(function).split(".")[-1] for function in called}
    assert not {name for name in names if re.match("write|save|replacing|resuming|put_|mkdir|open$", name)}


@pytest.mark.parametrize("stage", GRAPH)
def test_code_in_deps_is_that_of_the_script(stage):
    code = [dep for dep in GRAPH[stage]["deps"] if dep.startswith(("stages", "data/code"))]
    assert code == (["stages"] if stage == "code" else [f"data/code/{script_of(stage).stem}.json"])


def test_digests_are_of_what_python_imports():
    """At least of all that an import of the script loads; what a function imports when called counts, too."""
    program = f"""
import importlib, json, sys
found = {{}}
for name in {[script.stem for script in scripts()]}:
    importlib.import_module(f"stages.{{name}}")
    modules = {{key: module.__file__ for key, module in sys.modules.items() if key.startswith("stages.")}}
    found[name] = [path for path in modules.values() if path and not path.endswith("__init__.py")]
    for key in modules:
        del sys.modules[key]
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    for name, paths in json.loads(done.stdout).items():
        imported = {str(path.relative_to(ROOT)) for path in set(map(Path, paths)) - CHANGES_NOTHING}
        assert imported <= set(digests_of(STAGES / f"{name}.py")), name
    assert "stages/runtime/on_ray.py" in digests_of(STAGES / "craft.py")  # which `engine` imports when asked


def test_every_script_is_a_stage_and_every_stage_a_script():
    """But for the tools, which no stage runs."""
    assert {script_of(stage) for stage in GRAPH} == set(SCRIPTS) == {*scripts(), STAGES / "code.py"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_params_that_a_stage_reads_are_its_keys(script):
    """Whatever a script reads of params.yaml stands under `params:` of a stage that runs it; runtime never does."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    stages = [stage for stage in GRAPH if script_of(stage) == script]
    keys = {key.split(".")[0] for stage in stages for key in GRAPH[stage].get("params", [])}
    assert read - {"runtime", "with_runtime"} == keys


@pytest.mark.parametrize("room", ROOMS)
def test_init_files_of_rooms_hold_a_docstring_alone(room):
    body = ast.parse((STAGES / room / "__init__.py").read_text(encoding="utf-8")).body
    assert [type(node) for node in body] == [ast.Expr]


def test_rooms_have_no_rooms():
    """What lies deeper, the stage `code` would not see change: .dvcignore."""
    assert {path.parent.parent for path in STAGES.rglob("*.py")} == {ROOT, STAGES}


@pytest.mark.parametrize("name", ["banks", "report"])
def test_rooms_without_a_tensor_library(name):
    for path in (STAGES / name).glob("*.py"):
        assert not imported_libraries(path) & TENSOR_LIBRARIES, path


@pytest.mark.parametrize("stage", ["evaluate", "model-card", "plot"])
def test_light_stages_import_no_tensor_library(stage):
    for path in {script_of(stage), *closure(script_of(stage))}:
        assert not imported_libraries(path) & TENSOR_LIBRARIES, path


def test_each_sentence_of_the_method_stands_once():
    """The PGD loop, mean and std, the cosine-logit line."""
    source = {path: path.read_text(encoding="utf-8") for path in STAGES.rglob("*.py")}
    for pattern, home in (
        (r"autograd\.grad\(objective", "attacks/pgd.py"),
        (r"self\._mean\) / self\._std", "models/clip.py"),
        (r"logit_scale \* ", "prompts/classify.py"),
    ):
        assert [path for path, text in source.items() if re.search(pattern, text)] == [STAGES / home]


def test_the_project_names_its_dependencies():
    """Whatever the source imports from outside is stated in pyproject.toml."""
    known = {
        "torch", "open_clip", "huggingface_hub", "dvc", "numpy", "pandas", "PIL", "pyarrow", "matplotlib",
        "safetensors", "pydantic", "ruamel", "scipy", "torchvision", "tqdm", "timm", "pyautoattack", "skimage",
        "filelock", "psutil", "pywt",  # which scikit-image asks for when it denoises by wavelets
    }  # fmt: skip
    extra = {"ray", "fsspec"}  # of the extra `ray`
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert len(stated) == len(known)
    for path in STAGES.rglob("*.py"):
        assert imported_libraries(path) <= known | extra | sys.stdlib_module_names, path
