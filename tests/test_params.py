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
        ("datasets", ["my-birds"], "'my-birds': lower-case letters, digits, underscores"),
        ("datasets", ["../etc"], "lower-case letters"),
        ("adaptive.pgd_eps4", {}, "adaptive.pgd_eps4"),
        ("adaptive.adaptive_eps4.method", "fab", "adaptive.adaptive_eps4: .*'pgd', 'autoattack', 'square'"),
        ("adaptive.adaptive_eps4.steps", 0, "adaptive.adaptive_eps4.steps: .*greater than or equal to 1"),
        ("adaptive.adaptive_eps4.defence", {"method": "jpeg", "quality": 75}, "has to stand under `defences`"),
        ("adaptive.adaptive_eps4.defence", {"method": "jpeg", "quality": 0}, r"adaptive_eps4\.defence\.quality: "),
        ("defences.weak", {"method": "jpeg", "quality": 101}, r"defences\.weak\.quality: .*less than or equal to 100"),
        ("defences.weak", {"method": "bits", "bits": 9}, r"defences\.weak\.bits: .*less than or equal to 8"),
        ("defences.weak", {"method": "blur"}, "defences.weak: .*'jpeg', 'bits', 'median'"),
        ("defences.worst_eps4", {"method": "bits", "bits": 3}, "and not 'clean', 'worst_...'"),
        ("oblivious.transfer_eps8.surrogate.width", 0, r"transfer_eps8\.surrogate\.width: "),
        (
            "oblivious.transfer_eps8.surrogate",
            {"name": "keras:vgg", "pretrained": None, "epochs": 1, "batch_size": 1, "lr": 0.1},
            r"transfer_eps8\.surrogate\.name: .*torchvision",
        ),
        ("oblivious.transfer_eps8.translation", 4, r"transfer_eps8\.translation: .*3, 5, 7"),
        ("tune.warmup_epochs", 100, r"tune: warmup_epochs \(100\) has to be less than epochs \(100\)"),
        (
            "model",
            {"name": "ViT-B-32", "pretrained": "README.md", "sha256": None, "precision": "fp32"},
            r"model: sha256 has to be stated for a file; `sha256sum README.md`",
        ),
        ("assess.eps", [4], r"assess\.eps: .*at least 2"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        load_params(changed(tmp_path, key, value))


def test_names_and_settings_that_cannot_go_together_are_refused_before_any_work(tmp_path):
    path = changed(tmp_path, "base_to_new", ["fashion"])
    for key, value, message in (
        ("datasets", ["fashion", "fashion_base"], "'fashion_base' is what a transfer or a half"),
        ("tune", {"class_specific": True}, "contexts of single classes cannot move"),
    ):
        params = yaml.load(path)
        params[key] = params[key] | value if isinstance(value, dict) else value
        other = tmp_path / "other.yaml"
        yaml.dump(params, other)
        with pytest.raises(ValueError, match=message):
            load_params(other)


def test_a_random_defence_is_attacked_by_pgd_alone(tmp_path):
    defence = {"method": "resize_pad", "smallest": 0.8}
    path = changed(tmp_path, "defences", {"pad": defence})
    params = yaml.load(path)
    params["adaptive"]["adaptive_eps4"] |= {"defence": defence, "samples": 4}
    params["adaptive"]["square"] = {
        "method": "square", "eps": 4, "images": 5, "tuning_seeds": 1, "queries": 5, "batch_size": 5, "defence": defence
    }  # fmt: skip
    yaml.dump(params, path)
    with pytest.raises(ValueError, match=r"adaptive\.square: square is no attack on a random defence"):
        load_params(path)


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
