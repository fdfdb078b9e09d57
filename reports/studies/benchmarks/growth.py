"""Growth: CPU seconds and peak memory of stages against the number of images, classes, methods and threats.

Each stage runs as the script that it is, in a process of its own on one thread, in a small project with random images
of 16 px and the embedded model. `start s` is the CPU time of the process until it has parsed its arguments. `exponent`,
in the last row of each stage, is the slope of a line through the logarithms of what each step adds to the units and to
the CPU time, so that what a stage costs on nothing drops out: 1 is linear. Steps that add less than MARGIN are left
out; where fewer than two are left, as in a stage that hardly depends on the units, it is missing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from ruamel.yaml import YAML

from stages.report.style import COLOURS, GRID, MARKERS, as_png

ROOT = Path.cwd()
FIGURE = Path("reports/growth.png")
AXES = {
    "images": (1_000, 4_000, 16_000, 64_000),
    "classes": (10, 100, 1_000),
    "methods": (1, 5, 20),
    "threats": (1, 4, 10),
}
SHOWN = {
    "images": ("extract", "attack_oblivious", "evaluate", "plot"),
    "classes": ("zero_shot", "tune", "evaluate", "interpret", "plot"),
    "methods": ("zero_shot", "evaluate", "interpret", "plot"),
    "threats": ("attack_oblivious", "evaluate", "plot"),
}
BASE = {"images": 1_000, "classes": 10, "methods": 1, "threats": 1}
# words that the embedded model knows
WORDS = ("ankle", "bag", "boot", "coat", "dress", "pullover", "sandal", "shirt", "sneaker", "trouser")
TRAINING = 4_000  # images, whatever the number of classes
MARGIN = 0.5  # CPU seconds: on a busy machine, smaller differences between two processes are chance
PGD = {"method": "feature_pgd", "objective": "kl", "steps": 1, "step_ratio": 1.0, "start": "uniform", "restarts": 1}
ASSESS = {"images": 2, "at_eps": 4, "eps": [4, 64], "steps": [1, 2], "autoattack_images": 1, "queries": 5}
# a parent of hardly any memory: what a process counts as its peak begins with that of the process which started it
LAUNCHER = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


class Used(NamedTuple):
    """Use of processes: CPU seconds in all, and the peak memory in MB of the largest."""

    seconds: float
    megabytes: float


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """Yield a row for each axis, stage and number of units, then draw all rows."""
    rows: list[dict] = []
    for axis, counts in AXES.items():
        for row in growth(axis, counts[:2] if quick else counts):
            rows.append(row)
            yield row
    if not quick:
        FIGURE.write_bytes(growth_figure(rows))


def growth(axis: str, counts: tuple[int, ...]) -> Iterator[dict]:
    """Yield the rows of one axis."""
    found = [measured(axis, count) for count in counts]
    for stage in SHOWN[axis]:
        start = used_by(ROOT, stage, "--help").seconds
        seconds = [used[stage].seconds for used in found]
        for count, used in zip(counts, found, strict=True):
            yield {
                "axis": axis,
                "units": count,
                "stage": stage,
                "CPU s": used[stage].seconds,
                "start s": start,
                "peak MB": round(used[stage].megabytes),
                "exponent": exponent(counts, seconds) if count == counts[-1] else None,
            }


def exponent(counts: tuple[int, ...], seconds: list[float]) -> float | None:
    """Return p of seconds = a + b * counts ** p, by the steps that add MARGIN or more; None if there are not two."""
    steps, added = np.diff(counts), np.diff(seconds)
    clear = added >= MARGIN
    if clear.sum() < 2:
        return None
    return float(np.polyfit(np.log(steps[clear]), np.log(added[clear]), 1)[0])


def measured(axis: str, count: int) -> dict[str, Used]:
    """Run all stages of a project with that many units; return what each took, over all of its methods or threats."""
    sizes = {**BASE, axis: count}
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "data/raw/noise", sizes["images"], sizes["classes"])
        (folder / "data/embedded").symlink_to(ROOT / "data/embedded")
        YAML().dump(params_of(sizes), folder / "params.yaml")
        used: dict[str, list[Used]] = {}
        for stage, *arguments in commands(sizes):
            used.setdefault(stage, []).append(used_by(folder, stage, *arguments))
    return {stage: Used(sum(one.seconds for one in of), max(one.megabytes for one in of)) for stage, of in used.items()}


def params_of(sizes: dict[str, int]) -> dict[str, Any]:
    """Return the parameters of a project: hand-written prompts and CoOp, label-free attacks of one step."""
    params: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
    methods: dict[str, Any] = {group: {} for group in params["methods"]}
    methods["zero_shot"] = {f"method{index}": {"templates": "dataset"} for index in range(sizes["methods"])}
    methods["tune_clean"] = {"coop": {}}
    return params | {
        "datasets": ["noise"],
        "runtime": params["runtime"] | {"device": "cpu", "workers": 1},
        "attack": PGD | {"eps": 8},
        "tune": params["tune"] | {"tuning_seeds": 1, "epochs": 1, "warmup_epochs": 0},
        "methods": methods,
        "oblivious": {f"pgd_eps{eps}": PGD | {"eps": eps} for eps in range(1, sizes["threats"] + 1)},
        "adaptive": {},
        "assess": ASSESS | {"method": "zero_shot/method0"},
    }


def commands(sizes: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """Yield the stages and their arguments in the order of the pipeline."""
    yield from ((stage, "noise") for stage in ("fetch", "extract", "craft", "embed"))
    methods = [f"method{index}" for index in range(sizes["methods"])]
    yield from (("zero_shot", "noise", "all", method) for method in methods)
    yield "tune", "noise", "all", "tune_clean", "coop"
    yield from (("attack_oblivious", "noise", f"pgd_eps{eps}") for eps in range(1, sizes["threats"] + 1))
    yield from (("evaluate", "noise", "all", "zero_shot", method) for method in methods)
    yield "evaluate", "noise", "all", "tune_clean", "coop"
    yield "assess", "noise"
    yield "interpret", "noise"
    yield ("plot",)


def write_images(folder: Path, count: int, classes: int) -> None:
    """Write TRAINING and `count` random images in as many classes, the same number of each."""
    generator = np.random.default_rng(0)
    names = [" ".join(words) for words in islice(product(WORDS, repeat=3), classes)]
    for split, images in (("train", TRAINING), ("test", count)):
        for name in names:
            (folder / split / name).mkdir(parents=True)
        for index in range(images):
            pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / names[index % classes] / f"{index}.png", compress_level=1)


def used_by(folder: Path, stage: str, *arguments: str) -> Used:
    """Run a stage in a folder, on one thread."""
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(launch, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    code, seconds, megabytes = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {done.stderr}")
    return Used(seconds, megabytes)


@as_png
def growth_figure(rows: list[dict]) -> Figure:
    """Draw CPU time and memory of each stage against each kind of units, and what linear growth would look like."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(2, len(AXES), sharey="row")
    for column, (axis, counts) in enumerate(AXES.items()):
        for panel, key in zip(panels[:, column], ("CPU s", "peak MB"), strict=True):
            for stage, colour, marker in zip(SHOWN[axis], COLOURS, MARKERS, strict=False):
                values = [row[key] for row in rows if (row["axis"], row["stage"]) == (axis, stage)]
                panel.plot(counts, values, marker=marker, color=colour, markersize=4, linewidth=1.2, label=stage)
            panel.set(xscale="log", xlabel=f"number of {axis}")
            panel.set_xticks(counts, [f"{count:,}" for count in counts])
            panel.minorticks_off()
            panel.grid(**GRID)
        panels[0, column].plot(counts, np.array(counts) / counts[0], ":", color="black", linewidth=0.8, label="linear")
        panels[0, column].legend(fontsize=7)
        panels[0, column].set_yscale("log")
        panels[0, column].yaxis.set_major_formatter("{x:g}")
        panels[1, column].set_ylim(0, None)
    panels[0, 0].set_ylabel("CPU seconds, start included")
    panels[1, 0].set_ylabel("peak memory in MB")
    return figure
