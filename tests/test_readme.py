"""README.md tells the truth: its table is the committed one, its commands and files exist."""

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from stages.report.vocabulary import PROMPTS
from tests.compare_metrics import differences
from tests.readme import table, with_tables


def readme() -> str:
    return Path("README.md").read_text(encoding="utf-8")


def committed() -> dict:
    """The metrics as committed; a run on another kind of processor may have changed those in the working tree."""
    from subprocess import check_output

    return json.loads(check_output(["git", "show", "HEAD:reports/metrics.json"]))


def test_the_results_table_is_that_of_the_committed_metrics():
    assert readme() == with_tables(readme(), committed()), "run `python -m tests.readme`"


def test_a_threat_on_a_subset_is_marked_and_has_the_clean_accuracy_of_its_images_beside_it():
    whole = {"accuracy": 0.9, "n": 1000, "low": 0.88, "high": 0.92, "std": None, "seeds": 1, "clean_accuracy": 0.9}
    some = {**whole, "accuracy": 0.3, "n": 300, "low": 0.25, "high": 0.35, "clean_accuracy": 0.85}
    metrics = {"fashion": {"clean": dict.fromkeys(PROMPTS, whole), "adaptive_eps4": dict.fromkeys(PROMPTS, some)}}
    *_, clean, adaptive, empty, note = table(metrics).splitlines()
    assert clean.startswith("| clean |  | 1000 | 90.0 (88.0-92.0) |") and "clean 9" not in clean
    assert adaptive.startswith("| adaptive_eps4 | adaptive | 300† | 30.0 (25.0-35.0), clean 85.0 |")
    assert not empty
    assert note == "† 300 of 1000 test images, a class-balanced draw; clean: the same images without attack."
    metrics["fashion"]["adaptive_eps4"] = dict.fromkeys(PROMPTS, whole)
    assert "†" not in table(metrics)


def test_files_that_it_names_exist():
    for name in re.findall(r"`((?:stages|tests|data/embedded|reports)/[\w./-]+)`", readme()):
        assert Path(name).exists(), name


def test_parameters_of_its_recipes_exist():
    from stages.runtime.params import load_params

    names = re.findall(r"-S '?([\w.]+)=", readme())
    assert len(names) > 5
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
    from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

    from stages.runtime.params import load_params

    path = tmp_path / "params.yaml"
    is_sweep = any(re.search(r"=[\w.]+,", value) for value in overrides)
    runs = get_hydra_sweeps({str(path): overrides}) if is_sweep else [{str(path): overrides}]
    found = []
    for run in runs:
        path.write_text(Path("params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        apply_overrides(path, run[str(path)])
        found.append(load_params(path))
    assert any(params != load_params() for params in found)


def test_metrics_that_differ_by_more_than_a_point_are_told():
    expected, found = {"a": 0.5, "b": 0.5, "c": 0.5}, {"a": 0.509, "b": 0.511, "d": 0.5}
    assert [line.split(":")[0] for line in differences(expected, found)] == ["b", "c", "d"]


def test_the_committed_numbers_behave():
    """Accuracy falls with eps, tuned prompts know their classes, an attacker who knows the prompt does no worse."""
    metrics = committed()["fashion"]
    found = {threat: {name: numbers["accuracy"] for name, numbers in metrics[threat].items()} for threat in metrics}
    for prompt in ("hand", "coop", "advpt"):
        falling = [found[threat][prompt] for threat in ("clean", "pgd_eps4", "pgd_eps8", "pgd_eps16")]
        assert falling == sorted(falling, reverse=True)
        for eps in (4, 8):
            assert found[f"adaptive_eps{eps}"][prompt] < found[f"pgd_eps{eps}"][prompt]
    assert found["clean"]["advpt"] > 0.5 and found["clean"]["coop"] > 0.85
