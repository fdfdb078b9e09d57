"""Reruns: how many stages a second `dvc repro` runs after one method or threat was added to the default.

Nothing is computed: a copy of the graph in which every input and output is a small file has been committed to DVC, and
DVC says what is out of date. To that come the stages downstream, which read what the others write anew.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import networkx as nx
import torch
from dvc.repo import Repo
from ruamel.yaml import YAML

KINDS = {"methods": "method", "oblivious": "oblivious threat", "adaptive": "adaptive threat"}
ONE = dict.fromkeys(KINDS, 1)
# of what is there before, by kind
COUNTS = (ONE, ONE | {"methods": 5}, ONE | {"methods": 20}, ONE | {"oblivious": 10}, ONE | {"adaptive": 10})
yaml = YAML(typ="safe")


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """Yield a row for each number of methods and threats that are there before."""
    for counts in COUNTS[:2] if quick else COUNTS:
        with TemporaryDirectory() as name:
            yield {**counts, **reruns(Path(name), counts)}


def reruns(folder: Path, counts: dict[str, int]) -> dict[str, int]:
    """Return the number of stages of a committed project, and of those that run once there is one more of a kind."""
    shutil.copy("dvc.yaml", folder)
    dump(folder, counts)
    dvc(folder, "init", "--no-scm", "-q")
    pretend(folder)
    dvc(folder, "commit", "-fq")
    found = {"stages": len(Repo(folder).index.stages), "again": to_run(folder)}
    for kind, name in KINDS.items():
        dump(folder, counts | {kind: counts[kind] + 1})
        found[f"after 1 more {name}"] = to_run(folder)
    return found


def to_run(folder: Path) -> int:
    """Return the number of stages that are out of date or new, and of those downstream."""
    stale, graph = json.loads(dvc(folder, "status", "--json")), Repo(folder).index.graph
    changed = {stage for stage in graph if stage.name in stale}
    return len(changed.union(*(nx.ancestors(graph, stage) for stage in changed)))


def dump(folder: Path, counts: dict[str, int]) -> None:
    """Write the parameters of a project with hand-written prompts and copies of the first threats."""
    params: dict[str, Any] = yaml.load(Path("params.yaml"))

    def copies(kind: str, block: dict[str, Any]) -> dict[str, Any]:
        return {f"{kind}{index}": block for index in range(counts[kind])}

    first = next(iter(params["methods"]["zero_shot"].values()))
    params["methods"] = {group: {} for group in params["methods"]} | {"zero_shot": copies("methods", first)}
    params |= {kind: copies(kind, next(iter(params[kind].values()))) for kind in ("oblivious", "adaptive")}
    params["assess"]["method"] = "zero_shot/methods0"
    yaml.dump(params, folder / "params.yaml")


def pretend(folder: Path) -> None:
    """Make a small file in the place of each output, and of each input that is not one."""
    stages = Repo(folder).index.stages
    for path in (Path(one.fs_path) for stage in stages for one in (*stage.outs, *stage.deps)):
        file = path if path.suffix else path / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def dvc(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = ["dvc", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
