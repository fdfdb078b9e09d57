"""`python -m tests.graph` writes the code that each stage imports under its `deps` in dvc.yaml."""

import re
from pathlib import Path

from ruamel.yaml import YAML

from tests.imports import ROOT, closure

STAGES = ROOT / "stages"
GRAPH_FILE = ROOT / "dvc.yaml"
WHOLE = STAGES / "report"  # a room that is one dependency: what imports it costs little to run again
NO_DEPS = {STAGES / "params.py", STAGES / "command.py"}  # values are keys already; progress changes no result


def code_of(script: Path) -> list[str]:
    """The code that a stage depends on: its script, then the files that it imports; WHOLE as a folder."""
    files = closure(script) - NO_DEPS - {script}
    deps = sorted({WHOLE if path.parent == WHOLE else path for path in files})
    return [str(path.relative_to(ROOT)) for path in (script, *deps)]


def rewritten(graph: str) -> str:
    """The text of dvc.yaml with the code under every `deps` as it should be; data stays."""
    stages = YAML(typ="safe").load(graph)["stages"]

    def renewed(match: re.Match) -> str:
        script = script_of(stages[match["stage"]])
        data = [dep for dep in re.findall(r"- (.*)", match["deps"]) if not dep.startswith("stages/")]
        return match["head"] + "".join(f"    - {dep}\n" for dep in [*code_of(script), *data])

    head = r"(?P<head>^  (?P<stage>[\w-]+):.*\n(?:    .*\n)*?    deps:\n)"
    return re.sub(head + r"(?P<deps>(?:    - .*\n)+)", renewed, graph, flags=re.MULTILINE)


def script_of(stage: dict) -> Path:
    """The script that a stage of dvc.yaml runs."""
    return STAGES / f"{stage['cmd'].split()[2].removeprefix('stages.')}.py"


if __name__ == "__main__":
    GRAPH_FILE.write_text(rewritten(GRAPH_FILE.read_text(encoding="utf-8")), encoding="utf-8")
