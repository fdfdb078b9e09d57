"""README.md: its tables are those of the committed results, its files exist, its commands are accepted."""

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from subprocess import check_output

import pytest
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

from reports.studies.readme import table, with_tables
from stages.runtime.params import load_params

METHODS = ("zero_shot", "coop", "advpt", "advpt_refreshed")


def readme() -> str:
    return Path("README.md").read_text(encoding="utf-8")


def committed() -> dict:
    """The metrics as committed; a run on another kind of processor may have changed those in the working tree."""
    return json.loads(check_output(["git", "show", "HEAD:reports/metrics.json"]))


def test_the_results_table_is_that_of_the_committed_metrics():
    assert readme() == with_tables(readme(), committed()), "run `python -m reports.studies.readme`"


def test_a_threat_on_a_subset_is_marked_and_has_the_clean_accuracy_of_its_images_beside_it():
    whole = {"accuracy": 0.9, "n": 1000, "low": 0.88, "high": 0.92, "std": None, "seeds": 1, "clean_accuracy": 0.9}
    some = {**whole, "accuracy": 0.3, "n": 300, "low": 0.25, "high": 0.35, "clean_accuracy": 0.85}
    metrics = {"fashion": {"clean": dict.fromkeys(METHODS, whole), "adaptive_eps4": dict.fromkeys(METHODS, some)}}
    *_, clean, adaptive, empty, note = table(metrics).splitlines()
    assert clean.startswith("| clean |  | 1000 | 90.0 (88.0-92.0) |") and "clean 9" not in clean
    assert adaptive.startswith("| adaptive_eps4 | adaptive | 300† | 30.0 (25.0-35.0), clean 85.0 |")
    assert not empty
    assert note == "† 300 of 1000 test images, a class-balanced draw; clean: the same images without attack."
    metrics["fashion"]["adaptive_eps4"] = dict.fromkeys(METHODS, whole)
    assert "†" not in table(metrics)


def test_files_that_it_names_exist():
    names = re.findall(r"`((?:stages|tests|data/embedded|reports)/[\w./-]+)`", readme())
    assert names
    assert [name for name in names if not Path(name).exists()] == []


def test_parameters_of_its_recipes_exist():
    names = re.findall(r"-S '?([\w.]+)=", readme())
    assert len(names) > 5 and recipes()
    for name in names:
        block = load_params().model_dump()
        for key in name.split("."):
            block = block[key]


def recipes() -> list[list[str]]:
    """What stands behind the `-S` of every `dvc exp run`."""
    lines = readme().replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("dvc exp run")]
    return [[value for flag, value in pairwise(words) if flag == "-S"] for words in found]


@pytest.mark.parametrize("overrides", recipes(), ids=lambda overrides: overrides[0].split("=")[0])
def test_recipes_give_parameters_that_are_allowed(overrides, tmp_path):
    path = tmp_path / "params.yaml"
    is_sweep = any(re.search(r"=[\w.]+,", value) for value in overrides)
    runs = get_hydra_sweeps({str(path): overrides}) if is_sweep else [{str(path): overrides}]
    found = []
    for run in runs:
        path.write_text(Path("params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        apply_overrides(path, run[str(path)])
        found.append(load_params(path))
    assert any(params != load_params() for params in found)
