"""The walls of the house: who may import whom, and that dvc.yaml says what the code does."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import graph
from tests.graph import STAGES, code_of
from tests.imports import ROOT, closure, imported_files, imported_libraries

ROOMS = sorted(path.name for path in STAGES.iterdir() if (path / "__init__.py").is_file())
RUNNABLE = sorted(path for path in STAGES.glob("*.py") if "if __name__" in path.read_text(encoding="utf-8"))
TOOLS = [STAGES / "classify.py"]  # for whoever has prompts; no stage, for it makes nothing
SCRIPTS = [path for path in RUNNABLE if path not in TOOLS]
GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
TENSOR_LIBRARIES = {"torch", "torchvision", "open_clip"}


def script_of(stage: str) -> Path:
    return graph.script_of(GRAPH[stage])


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
def test_deps_are_the_imports(stage):
    """File by file, but for the report's room; `python -m tests.graph` writes them."""
    assert [dep for dep in GRAPH[stage]["deps"] if dep.startswith("stages/")] == code_of(script_of(stage))


def test_a_room_that_is_one_dependency_is_imported_as_a_whole_by_its_stages():
    modules = set(graph.WHOLE.glob("*.py")) - {graph.WHOLE / "__init__.py"}
    assert modules <= closure(script_of("plot")) | closure(script_of("model-card"))


def test_a_dep_that_is_missing_is_written_back():
    text = graph.GRAPH_FILE.read_text(encoding="utf-8")
    for dep in ("stages/banks/files.py", "stages/refresh.py"):
        without = text.replace(f"    - {dep}\n", "")
        assert without != text == graph.rewritten(without)


def test_every_script_is_a_stage_and_every_stage_a_script():
    """But for the tools, which no stage runs."""
    assert {script_of(stage) for stage in GRAPH} == set(SCRIPTS)


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
