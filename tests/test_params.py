"""params.yaml: what is refused, and what the message says."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.params import load_params

yaml = YAML(typ="safe", pure=True)


def changed(tmp_path, key: str, value: object, *, remove: bool = False):
    """The project's params.yaml with one key changed."""
    params = yaml.load(Path("params.yaml"))
    *above, last = key.split(".")
    block = params
    for name in above:
        block = block[name]
    if remove:
        del block[last]
    else:
        block[last] = value
    path = tmp_path / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    return path


def test_the_committed_parameters_are_valid():
    params = load_params()
    assert (params.attack.eps, params.attack.steps, params.attack.step_ratio) == (8, 10, 1.25)
    assert params.oblivious["pgd_eps16"].eps == 16


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("attack.eps", -1, r"attack\.eps: .*greater than or equal to 0 \(got -1\)"),
        ("attack.eps", 256, r"attack\.eps: .*less than or equal to 255 \(got 256\)"),
        ("attack.eps", 0.03, r"attack\.eps: the unit is 1/255.*did you mean 7\.65"),
        ("oblivious.pgd_eps4.eps", 0.5, r"oblivious\.pgd_eps4\.eps: the unit is 1/255"),
        ("attack.eps", 1.5, r"attack\.eps: .*whole numbers are allowed \(got 1\.5\)"),
        ("attack.steps", 0, r"attack\.steps: .*greater than or equal to 1"),
        ("attack.step_ratio", 0, r"attack\.step_ratio: .*greater than 0"),
        ("seed", -1, "seed: .*greater than or equal to 0"),
        ("seed", 1.0, "seed: .*valid integer"),
        ("seed", True, "seed: .*valid integer"),
        ("attack.eps", float("nan"), r"attack\.eps: .*finite|attack\.eps: .*greater"),
        ("tune.lr", float("inf"), r"tune\.lr: .*finite"),
        ("tune.lr", "fast", r"tune\.lr: .*valid number \(got 'fast'\)"),
        ("attack.epz", 4, "attack: unknown key 'epz'; did you mean 'eps'"),
        ("tunes", {}, "top level: unknown key 'tunes'; did you mean 'tune'"),
        ("runtime.batch_size", 0, r"runtime\.batch_size: .*greater than or equal to 1"),
        ("attack.objective", "kll", r"attack\.objective: .*'kl', 'cosine' or 'l2' \(got 'kll'\)"),
        ("oblivious.pgd_eps4.method", "fgsm", "oblivious.pgd_eps4: .*'feature_pgd', 'transfer'"),
        ("tune.class_position", "left", "'end', 'middle' or 'front'"),
        ("tune.clean_fraction", 1.5, "less than or equal to 1"),
        ("data.shots", "some", r"data\.shots: "),
        ("datasets", [], "datasets: .*at least 1"),
        ("datasets", ["fashion", "fashion"], "'fashion' is named twice"),
        ("test_only", ["fashion"], "'fashion' is named twice"),
        ("transfer.sources", ["dtd"], r"transfer\.sources: 'dtd' is not under datasets"),
        ("transfer.targets", ["dtd"], r"transfer\.targets: 'dtd' is not under datasets or test_only"),
        ("base_to_new", ["dtd"], "base_to_new: 'dtd' is not under datasets"),
        ("fetch.held_out", 1.0, "less than 1"),
        ("hand", "words", "'template' or 'ensemble'"),
        ("datasets", ["my-birds"], "'my-birds': lower-case letters, digits and underscores"),
        ("datasets", ["../etc"], "lower-case letters"),
        ("adaptive.pgd_eps4", {}, "adaptive.pgd_eps4"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        load_params(changed(tmp_path, key, value))


def test_one_name_cannot_be_two_threats(tmp_path):
    block = yaml.load(Path("params.yaml"))["adaptive"]["adaptive_eps4"]
    with pytest.raises(ValueError, match="threat 'pgd_eps4' is in oblivious and in adaptive"):
        load_params(changed(tmp_path, "adaptive.pgd_eps4", block))


@pytest.mark.parametrize("key", ["attack", "attack.eps", "tune.lr", "runtime"])
def test_what_is_missing_is_named(tmp_path, key):
    with pytest.raises(ValueError, match=rf"{key}: Field required"):
        load_params(changed(tmp_path, key, None, remove=True))


def test_eps_zero_is_allowed(tmp_path):
    assert load_params(changed(tmp_path, "attack.eps", 0)).attack.eps == 0


@settings(deadline=None)  # YAML on a busy machine
@given(st.floats() | st.integers() | st.text() | st.booleans() | st.none())
def test_eps_is_a_number_of_255ths_or_refused(tmp_path_factory, value):
    path = changed(tmp_path_factory.mktemp("params"), "attack.eps", value)
    try:
        eps = load_params(path).attack.eps
    except ValueError as error:
        assert "attack.eps" in str(error) or "no valid YAML" in str(error)
    else:
        assert 0 <= eps <= 255 and eps == int(eps)


def test_no_file_and_no_yaml_are_errors(tmp_path):
    with pytest.raises(ValueError, match="missing"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="no valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_a_stage_stops_with_one_message_before_any_work(tmp_path):
    changed(tmp_path, "attack.eps", 0.03)
    run = subprocess.run(
        [sys.executable, "-m", "stages.fetch", "fashion"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("python -m stages.fetch: error: params.yaml: attack.eps: the unit is 1/255")
    assert "Traceback" not in run.stderr and [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
