"""params.yaml: what is refused, and what the message says."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.runtime.method_blocks import TEST_TIME
from stages.runtime.params import load_params

yaml = YAML(typ="safe")
yaml.default_flow_style = False  # in flow style libyaml takes no colon inside a word, as in local-dir:...
COMMITTED = yaml.load(Path("params.yaml"))


def changed(tmp_path, key: str, value: object, *, remove: bool = False) -> Path:
    """The project's params.yaml with one key changed."""
    params = copy.deepcopy(COMMITTED)
    *above, last = key.split(".")
    block = params
    for name in above:
        block = block[name]
    if remove:
        del block[last]
    else:
        block[last] = value
    return written(tmp_path, params)


def written(tmp_path, params: dict) -> Path:
    """Parameters as a file."""
    path = tmp_path / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    return path


def allowed_or_refused(path: Path, message: str | None) -> None:
    """Read parameters, which have to be good, or refused with the message if there is one."""
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        load_params(path)


def test_the_committed_parameters_are_valid():
    params = load_params()
    assert (params.attack.eps, params.attack.steps, params.attack.step_ratio) == (8, 10, 1.25)
    assert params.oblivious["pgd_eps16"].eps == 16
    refreshed = params.methods.refresh["advpt_refreshed"]
    assert refreshed.eps == [4] and refreshed.tune(params.tune).lr == 0.05 and params.tune.lr == 0.01
    assert (params.assess.method, params.data.validation) == ("tune_bank/advpt", 0)


REFRESHED, DEFENDED = "methods.refresh.advpt_refreshed", "methods.defended.weak"


def behind(**defence):
    """AdvPT behind a defence."""
    return {"method": "advpt", "defence": defence}


BACKBONE = {"pretrained": None, "epochs": 1, "batch_size": 1, "lr": 0.1}
UNIT = r"the unit is 1/255 .*up to 255 are allowed \(did you mean 7\.65\?\) \(got 0\.03\)"

ADVERSARIAL = "methods.adversarial.tuned"


def attacked(kind="adv_vp", **keys):
    """A method that is tuned on attacked images."""
    return {"kind": kind, "eps": [4], **keys}


REFUSED = {
    "eps below 0": ("attack.eps", -1, r"attack\.eps: .*greater than or equal to 0 \(got -1\)"),
    "eps above 255": ("attack.eps", 256, r"attack\.eps: .*less than or equal to 255 \(got 256\)"),
    "bank": ("attack.eps", 0.03, rf"attack\.eps: {UNIT}"),
    "oblivious": ("oblivious.pgd_eps4.eps", 0.03, rf"oblivious\.pgd_eps4\.eps: {UNIT}"),
    "adaptive": ("adaptive.adaptive_eps4.eps", 0.03, rf"adaptive_eps4\.eps: {UNIT}"),
    "reverse": (
        "oblivious.transfer_eps8.reverse", {"eps": 0.03, "steps": 1, "from_step": 0}, rf"reverse\.eps: {UNIT}"
    ),
    "refreshing": (f"{REFRESHED}.eps", [4, 0.03], rf"advpt_refreshed\.eps\.1: {UNIT}"),
    "assess": ("assess.at_eps", 0.03, rf"assess\.at_eps: {UNIT}"),
    "one of several": ("assess.eps", [4, 0.03], rf"assess\.eps\.1: {UNIT}"),
    "steps": ("attack.steps", 0, r"attack\.steps: .*greater than or equal to 1 \(got 0\)"),
    "adaptive steps": ("adaptive.adaptive_eps4.steps", 0, r"adaptive_eps4\.steps: .*greater than or equal to 1"),
    "refreshing steps": (f"{REFRESHED}.steps", 0, r"advpt_refreshed\.steps: .*greater than or equal to 1 \(got 0\)"),
    "refreshing step size": (f"{REFRESHED}.step_ratio", 0, r"advpt_refreshed\.step_ratio: .*greater than 0 \(got 0\)"),
    "step size 0": ("attack.step_ratio", 0, r"attack\.step_ratio: .*greater than 0 \(got 0\)"),
    "step size below 0": ("attack.step_ratio", -1.0, r"attack\.step_ratio: .*greater than 0 \(got -1\.0\)"),
    "negative": ("seed", -1, r"seed: .*greater than or equal to 0 \(got -1\)"),
    "float": ("seed", 1.0, r"seed: .*valid integer \(got 1\.0\)"),
    "bool": ("seed", True, r"seed: .*valid integer \(got True\)"),
    "NaN": ("attack.eps", float("nan"), r"attack\.eps: .* \(got nan\)"),
    "inf": ("tune.lr", float("inf"), r"tune\.lr: .*finite number \(got inf\)"),
    "text": ("tune.lr", "fast", r"tune\.lr: .*valid number \(got 'fast'\)"),
    "NaN for a count": ("attack.steps", float("nan"), r"attack\.steps: .*valid integer \(got nan\)"),
    "in a block": ("attack.epz", 4, "attack: unknown key 'epz'; did you mean 'eps'"),
    "in a threat": ("oblivious.pgd_eps4.stepz", 4, "pgd_eps4: unknown key 'stepz'; did you mean 'steps'"),
    "section": ("tunes", {}, "top level: unknown key 'tunes'; did you mean 'tune'"),
    "runtime": ("runtime.batch_size", 0, r"runtime\.batch_size: .*greater than or equal to 1 \(got 0\)"),
    "tuning": ("tune.batch_size", 0, r"tune\.batch_size: .*greater than or equal to 1 \(got 0\)"),
    "surrogate": ("oblivious.transfer_eps8.surrogate.batch_size", 0, r"surrogate\.batch_size: .*equal to 1"),
    "objective": ("attack.objective", "kll", r"attack\.objective: .*'kl', 'cosine' or 'l2' \(got 'kll'\)"),
    "refreshing objective": (
        f"{REFRESHED}.objective", "dlr", r"objective: .*'cross_entropy' or 'margin' \(got 'dlr'\)"
    ),
    "oblivious attack": (
        "oblivious.pgd_eps4.method", "fgsm", "oblivious.pgd_eps4: .*'feature_pgd', 'handwritten_pgd', 'transfer'"
    ),
    "adaptive attack": (
        "adaptive.adaptive_eps4.method", "fab", "adaptive.adaptive_eps4: .*'pgd', 'suite', 'autoattack', 'square'"
    ),
    "defence": (DEFENDED, behind(kind="blur"), r"weak\.defence: .*'jpeg', 'bits', 'median'"),
    "name of a surrogate": (
        "oblivious.transfer_eps8.surrogate", {"name": "keras:vgg", **BACKBONE}, r"surrogate\.name: .*torchvision\|timm"
    ),
    "quality 0": (DEFENDED, behind(kind="jpeg", quality=0), r"quality: .*equal to 1 \(got 0\)"),
    "quality 101": (DEFENDED, behind(kind="jpeg", quality=101), r"weak\.defence\.quality: .*to 100 \(got 101\)"),
    "bits 0": (DEFENDED, behind(kind="bits", bits=0), r"weak\.defence\.bits: .*equal to 1 \(got 0\)"),
    "bits 9": (DEFENDED, behind(kind="bits", bits=9), r"weak\.defence\.bits: .*equal to 8 \(got 9\)"),
    "eps between whole numbers": ("attack.eps", 1.5, r"attack\.eps: .*whole numbers are allowed \(got 1\.5\)"),
    "class position": ("tune.class_position", "left", "'end', 'middle' or 'front'"),
    "clean fraction": ("tune.clean_fraction", 1.5, "less than or equal to 1"),
    "temperature": ("tune.temperature", 0, "greater than 0"),
    "shots": ("data.shots", "some", r"data\.shots: "),
    "no shots": ("data.shots", None, r"data\.shots: (?!.*constrained)"),
    "no data set": ("datasets", [], "datasets: too few; write at least 1 there, as the committed"),
    "a data set twice": ("datasets", ["fashion", "fashion"], "'fashion' is named twice"),
    "a data set twice, in two lists": ("test_only", ["fashion"], "'fashion' is named twice"),
    "source": ("transfer.sources", ["dtd"], r"transfer\.sources: 'dtd' is not under datasets"),
    "target": ("transfer.targets", ["dtd"], r"transfer\.targets: 'dtd' is not under datasets or test_only"),
    "halves": ("base_to_new", ["dtd"], "base_to_new: 'dtd' is not under datasets"),
    "held out": ("fetch.held_out", 1.0, "less than 1"),
    "templates": ("methods.zero_shot.zero_shot.templates", "words", "'dataset' or 'openai_80'"),
    "no zero-shot method": ("methods.zero_shot", {}, r"methods\.zero_shot: too few; write at least 1 there"),
    "hand of older versions": ("hand", "template", "hand: not a key any more; write methods: {zero_shot"),
    "refresh of older versions": ("refresh", {"start": "hand"}, "refresh: not a key any more; .*methods: {refresh"),
    "defences of older versions": ("defences", {}, "defences: not a key any more; write methods: {defended"),
    "a method in two groups": ("methods.tune_clean.advpt", {}, "methods: 'advpt' is named twice"),
    "baseline": ("methods.tune_bank.advpt.baseline", "cop", r"advpt\.baseline: no other method 'cop'; there are: zero"),
    "own baseline": ("methods.tune_bank.advpt.baseline", "advpt", "no other method 'advpt'"),
    "defended by nobody": (DEFENDED, behind(kind="bits", bits=3) | {"method": "cop"}, "no undefended 'cop'"),
    "r_tpt behind contexts of classes": (
        DEFENDED,
        behind(kind="r_tpt") | {"method": "advpt_refreshed"},
        r"weak\.method: r_tpt tunes one context, but 'advpt_refreshed' has several; a method with a shared",
    ),
    "r_tpt with few views": (
        DEFENDED, behind(kind="r_tpt", views=20), r"weak\.defence: neighbours \(20\) has to be less than views \(20\)"
    ),
    "defended without a group": (
        "methods",
        {**COMMITTED["methods"], "adversarial": {}, "defended": {"weak": behind(kind="bits", bits=3)}},
        r"methods\.adversarial: empty, but the stage `defend` reads every group",
    ),
    "key of tune in a method": ("methods.tune_bank.advpt.lrr", 0.1, "unknown key 'lrr'; did you mean 'lr'"),
    "null in a method": ("methods.tune_bank.advpt.lr", None, r"methods\.tune_bank\.advpt\.lr: "),
    "study": ("datasets", ["base"], "datasets: name 'base'"),
    "hyphen": ("datasets", ["my-birds"], "'my-birds': lower-case letters, digits, underscores"),
    "path": ("datasets", ["../etc"], "lower-case letters"),
    "one name of two threats": (
        "adaptive.pgd_eps4", COMMITTED["adaptive"]["adaptive_eps4"],
        "threat 'pgd_eps4' is in oblivious and in adaptive",
    ),
    "empty threat": ("adaptive.pgd_eps4", {}, "adaptive.pgd_eps4"),
    "defence of a threat": (
        "adaptive.adaptive_eps4.defence", {"kind": "jpeg", "quality": 75}, "adaptive_eps4: unknown key 'defence'"
    ),
    "name of a folder": ("methods.tune_bank.drawn", {}, "methods: name 'drawn'"),
    "reserved name": ("methods.tune_bank.worst_eps4", {}, "and not 'clean'"),
    "width": ("oblivious.transfer_eps8.surrogate.width", 0, r"transfer_eps8\.surrogate\.width: "),
    "translation": ("oblivious.transfer_eps8.translation", 4, r"transfer_eps8\.translation: .*3, 5, 7"),
    "warm-up": ("tune.warmup_epochs", 100, r"tune: warmup_epochs \(100\) has to be less than epochs \(100\)"),
    "digest of a file": (
        "model",
        {"name": "ViT-B-32", "pretrained": "README.md", "sha256": None, "precision": "fp32"},
        r"model: sha256 has to be stated for a file; `sha256sum README.md`",
    ),
    "assessed method": ("assess.method", "tune_bank/cop", "methods: no tune_bank/cop; there are: zero_shot/zero_shot"),
    "assessed group": ("assess.method", "advpt", r"assess\.method: .*pattern"),
    "adversarial kind": (ADVERSARIAL, attacked("vp"), r"adversarial\.tuned: .*'vp'.*'adv_vp', 'apt', 'moapt'"),
    "adversarial without a kind": (ADVERSARIAL, {"eps": [4]}, r"adversarial\.tuned: .*'kind'"),
    "adversarial without eps": (ADVERSARIAL, {"kind": "apt"}, r"adversarial\.tuned\.eps: Field required"),
    "adversarial no eps": (ADVERSARIAL, attacked() | {"eps": []}, r"adversarial\.tuned\.eps: .*at least 1"),
    "adversarial eps": (ADVERSARIAL, attacked() | {"eps": [0.03]}, rf"adversarial\.tuned\.eps\.0: {UNIT}"),
    "adversarial steps": (ADVERSARIAL, attacked(steps=0), r"tuned\.steps: .*greater than or equal to 1 \(got 0\)"),
    "adversarial clean share": (ADVERSARIAL, attacked(clean_fraction=1.1), r"tuned\.clean_fraction: .*less than or eq"),
    "adversarial optimiser": (ADVERSARIAL, attacked(optimizer="lbfgs"), r"tuned\.optimizer: .*'sgd' or 'adam'"),
    "adversarial warm-up": (
        ADVERSARIAL, attacked(epochs=2, warmup_epochs=2), r"warmup_epochs \(2\) has to be less than epochs \(2\)"
    ),
    "adversarial rate": (ADVERSARIAL, attacked(lr=float("inf")), r"adversarial\.tuned\.lr: .*finite"),
    "adversarial frame": (ADVERSARIAL, attacked(frame=0), r"tuned\.frame: .*greater than or equal to 1 \(got 0\)"),
    "text of a pixel prompt": (ADVERSARIAL, attacked(context_length=4), r"tuned: unknown key 'context_length'"),
    "pixels of a text prompt": (ADVERSARIAL, attacked("apt", frame=2), r"tuned: unknown key 'frame'"),
    "defended null": (DEFENDED, None, r"defended\.weak: nothing stands there"),
    "defence null": (DEFENDED, {"method": "advpt", "defence": None}, r"weak\.defence: nothing stands there"),
    "adversarial null": (ADVERSARIAL, None, r"adversarial\.tuned: nothing stands there; a block of keys is allowed"),
    "no round": (f"{REFRESHED}.rounds", 0, r"advpt_refreshed\.rounds: .*greater than or equal to 1 \(got 0\)"),
    "rounds to keep": (f"{REFRESHED}.keep", "last", "advpt_refreshed: unknown key 'keep'"),
    "no eps of the rounds": (f"{REFRESHED}.eps", [], r"advpt_refreshed\.eps: .*at least 1"),
    "clean fraction of the rounds": (
        f"{REFRESHED}.clean_fraction", 1.5, r"refreshed\.clean_fraction: .*less than or equal"
    ),
    "rounds that only warm up": (
        f"{REFRESHED}.epochs", 1, rf"{REFRESHED}: warmup_epochs \(1\) has to be less than epochs \(1\)"
    ),
    "all training images to validate on": ("data.validation", 1.0, r"data\.validation: .*less than 1 \(got 1\.0\)"),
    "validation below 0": ("data.validation", -0.1, r"data\.validation: .*greater than or equal to 0 \(got -0\.1\)"),
    "validation without a number": ("data.validation", float("nan"), r"data\.validation: .*finite number \(got nan\)"),
    "assessed eps twice": ("assess.eps", [4, 4], r"assess\.eps .* has to ascend, each value once"),
    "assessed steps": ("assess.steps", [20, 10], r"assess\.steps .* has to ascend, each value once"),
    "assessed at": ("assess.at_eps", 3, r"assess\.at_eps \(3\) has to be one of assess\.eps"),
    "one eps": ("assess.eps", [4], r"assess\.eps: .*at least 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_value_is_refused_by_name(tmp_path, case):
    key, value, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        load_params(changed(tmp_path, key, value))


HALVES = [
    (["fashion", "fashion_base"], "'fashion_base' is what a transfer or a half"),
    (["fashion"], r"advpt_refreshed.*: transfer and base_to_new need .*-S '~methods\.refresh\.advpt_refreshed'"),
]


@pytest.mark.parametrize(("datasets", "message"), HALVES)
def test_names_and_methods_that_do_not_fit_halves_of_the_classes_are_refused(tmp_path, datasets, message):
    with pytest.raises(ValueError, match=message):
        load_params(written(tmp_path, COMMITTED | {"base_to_new": ["fashion"], "datasets": datasets}))


def test_a_method_that_the_block_tune_says_nothing_about_keeps_all_its_keys(tmp_path):
    """Also those that the block has, too; none of them takes its value from there."""
    block = attacked(epochs=7, tuning_seeds=2, batch_size=9, lr=0.5)
    params = load_params(changed(tmp_path, ADVERSARIAL, block))
    settings = params.methods.find("adversarial", "tuned").settings(params.tune)
    assert settings.items() >= {**block, "temperature": 1.0, "momentum": 0.9, "warmup_epochs": 0, "frame": None}.items()


@pytest.mark.parametrize("kind", ["apt", "adv_vlp"])
def test_contexts_of_adversarial_methods_move_if_they_are_shared(tmp_path, kind):
    def params(**keys):
        methods = COMMITTED["methods"] | {"refresh": {}, "adversarial": {"tuned": attacked(kind, **keys)}}
        return written(tmp_path, COMMITTED | {"base_to_new": ["fashion"], "methods": methods})

    allowed_or_refused(params(class_specific=False), None)
    message = r"methods\.adversarial\.tuned: transfer and base_to_new need other classes"
    allowed_or_refused(params(class_specific=True), message)


@pytest.mark.parametrize(
    ("group", "method", "allowed"),
    [
        ("adversarial", attacked("moapt"), False),
        ("adversarial", attacked("apt", class_specific=True), False),
        ("adversarial", attacked("apt"), True),
        ("adversarial", attacked("adv_vp"), True),
        ("tune_bank", {"class_specific": True}, False),
        ("tune_bank", {}, True),
    ],
)
def test_r_tpt_stands_before_one_context_or_none(tmp_path, group, method, allowed):
    methods = copy.deepcopy(COMMITTED["methods"])
    methods[group]["tuned"] = method
    methods["defended"]["weak"] = behind(kind="r_tpt") | {"method": "tuned"}
    path = written(tmp_path, COMMITTED | {"methods": methods})
    allowed_or_refused(path, None if allowed else "r_tpt tunes one context, but 'tuned' has several")


RANDOM_DEFENCE = {
    "pgd": ({"objective": "margin", "steps": 2, "step_ratio": 2.0, "restarts": 1, "samples": 4}, None),
    "suite": ({"steps": 4, "restarts": 1, "targets": 1, "samples": 4}, None),
    "square with samples": (
        {"queries": 5, "batch_size": 5, "samples": 4}, "square takes no samples; 1 is allowed, or suite"
    ),
    "square": ({"queries": 5, "batch_size": 5}, "square is no attack on the random defence"),
    "autoattack": ({"version": "fast", "batch_size": 5}, "autoattack is no attack on the random defence"),
}  # fmt: skip


@pytest.mark.parametrize("name", RANDOM_DEFENCE)
def test_a_random_defence_is_attacked_by_pgd_or_the_suite(tmp_path, name):
    block, message = RANDOM_DEFENCE[name]
    threat = {"method": name.split()[0], "eps": 4, "images": 5, "tuning_seeds": 1, **block}
    methods = COMMITTED["methods"] | {"defended": {"pad": behind(kind="resize_pad", smallest=0.8)}}
    path = written(tmp_path, COMMITTED | {"methods": methods, "adaptive": {"threat": threat}})
    allowed_or_refused(path, message and rf"adaptive\.threat(\.samples)?: {message}")


KINDS = {
    "jpeg": {"quality": 75},
    "bits": {"bits": 3},
    "median": {"size": 3},
    "gaussian": {"sigma": 1.0},
    "total_variation": {"weight": 0.1},
    "wavelet": {"sigma": 0.02},
    "resize_pad": {"smallest": 0.8},
    "tte": {"shift": 2},
} | {kind: {} for kind in sorted(TEST_TIME - {"tte"})}
RANDOM_KINDS = {"resize_pad", "random_noise", "view_ensemble", "ttc", "r_tpt"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_random_defence_is_not_assessed(tmp_path, kind):
    """Its checks compare logits of several calls, and AutoAttack and Square are among them."""
    methods = COMMITTED["methods"] | {"defended": {"weak": behind(kind=kind, **KINDS[kind])}}
    assess = COMMITTED["assess"] | {"method": "defended/weak"}
    path = written(tmp_path, COMMITTED | {"methods": methods, "assess": assess})
    message = r"assess\.method: defended/weak has a random defence.*suite with samples > 1"
    allowed_or_refused(path, message if kind in RANDOM_KINDS else None)


@pytest.mark.parametrize("key", ["attack", "attack.eps", "tune.lr", "runtime"])
def test_a_missing_section_or_key_is_named(tmp_path, key):
    with pytest.raises(ValueError, match=rf"{key}: Field required"):
        load_params(changed(tmp_path, key, None, remove=True))


def test_eps_zero_is_allowed(tmp_path):
    assert load_params(changed(tmp_path, "attack.eps", 0)).attack.eps == 0


def places(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values with their keys, joined by dots."""
    for key, value in values.items():
        yield above + key, value
        if isinstance(value, dict):
            yield from places(value, f"{above}{key}.")


def test_each_block_or_list_with_nothing_behind_its_key_is_named_in_one_line(tmp_path):
    for key in [key for key, value in places(COMMITTED) if isinstance(value, dict | list)]:
        path = changed(tmp_path, key, None)
        with pytest.raises(ValueError, match="nothing stands there") as caught:
            load_params(path)
        assert str(caught.value).startswith(f"{path}: {key}: nothing stands there; ")
        assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "params.yaml").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"params\.yaml: top level: nothing stands there"):
        load_params(tmp_path / "params.yaml")


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
