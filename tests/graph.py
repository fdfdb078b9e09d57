"""`python -m tests.graph` writes the code that each stage imports under its `deps` in dvc.yaml."""

import re
from pathlib import Path

from tests.imports import ROOT, closure

STAGES = ROOT / "stages"
GRAPH_FILE = ROOT / "dvc.yaml"
NO_DEPS = {STAGES / "params.py", STAGES / "command.py"}  # values are keys already; progress changes no result


def code_of(script: Path) -> list[str]:
    """The code that a stage depends on: its script, then files; a folder where it imports all of one."""
    files = closure(script) - NO_DEPS
    whole = {room for room in STAGES.iterdir() if set() < modules_in(room) <= files}
    rest = sorted({path.parent if path.parent in whole else path for path in files - {script}})
    return [str(path.relative_to(ROOT)) for path in (script, *rest)]


def modules_in(room: Path) -> set[Path]:
    """The files of a folder, `__init__.py` left out."""
    return set(room.glob("*.py")) - {room / "__init__.py"}


def rewritten(graph: str) -> str:
    """The text of dvc.yaml with the code under every `deps` as it should be; data stays."""

    def renewed(match: re.Match) -> str:
        deps = re.findall(r"- (.*)", match["deps"])
        script = next(dep for dep in deps if dep.startswith("stages/"))
        data = [dep for dep in deps if not dep.startswith("stages/")]
        return "    deps:\n" + "".join(f"    - {dep}\n" for dep in [*code_of(ROOT / script), *data])

    return re.sub(r"    deps:\n(?P<deps>(?:    - .*\n)+)", renewed, graph)


if __name__ == "__main__":
    GRAPH_FILE.write_text(rewritten(GRAPH_FILE.read_text(encoding="utf-8")), encoding="utf-8")
