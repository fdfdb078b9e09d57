"""No line of stages/ runs code that data brings along, nor hands data to a shell; read from the syntax tree."""

import ast

import pytest

from stages.code import imported_names
from tests.imports import ROOT

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "subprocess", "pty", "code"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {"system", "popen", "startfile", "fork", "execv", "execve", "spawnl", "spawnv", "read_pickle", "to_pickle"}
UNSAFE_YAML = {"load_all", "full_load", "unsafe_load", "unsafe_load_all"}
FILES = sorted((ROOT / "stages").rglob("*.py"))


def faults(source: str) -> list[str]:
    """The calls that may run code from data, as they are written."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if is_fault(call)]


def is_fault(call: ast.Call) -> bool:
    """Whether a call may run code that data brings along."""
    written = ast.unparse(call.func)
    owner, _, name = written.rpartition(".")
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if not owner:
        return name in BUILTINS
    if owner == "torch":
        return name == "save" or (name == "load" and given.get("weights_only") != "True")
    if name == "load_state_dict" and owner.endswith(".models"):  # timm's, whose default has changed
        return given.get("weights_only") != "True"
    if name == "create_model" and owner == "open_clip":
        return given.get("weights_only") != "True"
    if owner in ("np", "numpy") and name in ("load", "save", "savez", "savez_compressed"):
        return given.get("allow_pickle", "False" if name == "load" else "True") != "False"
    if owner == "yaml" or owner.startswith("YAML("):
        return name in UNSAFE_YAML or (name == "load" and "'safe'" not in owner)
    return name in METHODS or given.get("shell", "False") != "False"


def test_there_is_something_to_read():
    assert len(FILES) > 80


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_runs_code_from_data(path):
    assert faults(path.read_text(encoding="utf-8")) == []
    assert {name.split(".")[0] for name in imported_names(path)} & MODULES == set()


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.save(model, path)",
        "np.load(path, allow_pickle=True)",
        "numpy.save(path, values)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "os.system(f'ls {name}')",
        "os.popen(name)",
        "anything.run(name, shell=True)",
        "yaml.load(text)",
        "YAML(typ='unsafe').load(text)",
        "YAML().load(text)",
        "pd.read_pickle(path)",
    ],
)
def test_what_would_be_found(source):
    assert faults(source) == [source]


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.save(path, values, allow_pickle=False)",
        "model.eval()",
        "YAML(typ='safe').load(path)",
        "torch.compile(model)",
        "re.compile(text)",
    ],
)
def test_what_is_allowed(source):
    assert faults(source) == []
