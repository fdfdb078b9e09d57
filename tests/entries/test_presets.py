"""Presets: changes that params.yaml takes, three numbers side by side, and a run of each on a miniature."""

import itertools
import json
import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from dvc.utils.hydra import apply_overrides
from safetensors.torch import load_file, save_file

from stages.datasets.catalogue import CATALOGUE
from stages.entries.presets import PRESETS, changed_params, compared, read_preset
from stages.models.clip import weights_digest
from stages.preset import main
from stages.runtime.params import Params, load_params
from tests.datasets.miniatures import MINIATURES
from tests.imports import ROOT
from tests.micro import Project, micro_project, yaml

NAMES = sorted(path.stem for path in (ROOT / PRESETS).glob("*.yaml"))
KINDS = list(itertools.product(NAMES, (False, True)))  # a preset, and whether on what the repository holds


def changes(name: str, embedded: bool) -> list[str]:
    return read_preset(name, ROOT / PRESETS).changes(embedded=embedded)


def decisive(name: str, params: Params) -> tuple:
    """Return all that the two numbers of a preset depend on."""
    preset = read_preset(name, ROOT / PRESETS)
    threats, method = {**params.oblivious, **params.adaptive}, params.methods.find(*preset.method.split("/"))
    tuning = (params.attack, params.tune) if method.group == "tune_bank" else ()
    general = (params.datasets, params.model, params.data, params.seed)
    return general, tuning, method, threats[preset.their_attack], threats[preset.our_attack]


@pytest.mark.parametrize(("name", "embedded"), KINDS)
def test_params_yaml_takes_the_changes_of_a_preset(name, embedded):
    before = (ROOT / "params.yaml").read_bytes()
    preset, params = read_preset(name, ROOT / PRESETS), changed_params(ROOT / "params.yaml", changes(name, embedded))
    preset.check(params)
    attacks = {**params.oblivious, **params.adaptive}
    assert attacks[preset.their_attack].eps == attacks[preset.our_attack].eps
    assert params.adaptive[preset.our_attack].method == "suite"
    assert (params.datasets == ["fashion"]) is embedded and set(params.datasets) <= set(CATALOGUE)
    if embedded:
        assert params.model.sha256 == weights_digest(f"local-dir:{ROOT / params.model.name.partition(':')[2]}", None)
    assert (ROOT / "params.yaml").read_bytes() == before


def test_no_preset_depends_on_what_another_one_has_left_in_params_yaml(tmp_path):
    path, original = tmp_path / "params.json", json.dumps(yaml.load(ROOT / "params.yaml"))

    def after(*overrides: str) -> Params:
        path.write_text(original)
        apply_overrides(path, list(overrides))
        return load_params(path)

    alone = {kind: decisive(kind[0], after(*changes(*kind))) for kind in KINDS}
    for first, then in itertools.product(KINDS, KINDS):
        both = after(*changes(*first), *changes(*then))
        assert decisive(then[0], both) == alone[then], (first, then)


def line(accuracy: float, low: float, high: float) -> dict:
    return {"fap": {"accuracy": accuracy, "low": low, "high": high, "n": 200}}


MADE_UP = {  # metrics of two data sets
    "a": {"fap_pgd_eps1": line(0.4, 0.33, 0.47), "suite_eps1": line(0.2, 0.15, 0.26)},
    "b": {
        "fap_pgd_eps1": line(0.6, 0.53, 0.67),
        "suite_eps1": line(0.3, 0.24, 0.37),
        "worst_eps1": line(0.1, 0.07, 0.15),
    },
}


def test_three_numbers_by_hand():
    preset = read_preset("fap", ROOT / PRESETS)
    table = compared(preset, MADE_UP, ["a", "b"])
    assert table.loc["mean"].tolist() == ["34.6", "50.0", "15.0"]
    assert table.loc["b"].tolist() == ["", "60.0 (53.0-67.0, n = 200)", "10.0 (7.0-15.0, n = 200)"]


def test_the_same_numbers_as_one_json_object(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    printed = []

    def run(command, *, check, stdout):
        printed.append(stdout)
        return CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("stages.preset.read_metrics", lambda _: {"fashion": MADE_UP["b"]})
    main(["fap", "--embedded", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert printed == [sys.stderr] and found["preset"] == "fap" and found["theirs"]["accuracy"] == 0.3461
    assert found["ours"]["their attack"]["fashion"] == MADE_UP["b"]["fap_pgd_eps1"]["fap"]
    assert found["ours"]["suite"]["fashion"] == MADE_UP["b"]["worst_eps1"]["fap"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("~adaptive.suite_eps1", "threat 'suite_eps1': the preset compares it"),
        ("~oblivious.nothing", "-S: .*nothing"),
        ("attack.eps=0.5", "attack.eps: the unit is 1/255"),
        ("~methods.adversarial.fap", "no adversarial/fap"),
    ],
)
def test_a_change_that_the_comparison_cannot_bear_is_refused_before_dvc_starts(change, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("subprocess.run", None)
    with pytest.raises(SystemExit, match=message):
        main(["fap", "-S", change])


def test_a_preset_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there are: advpt, apt, csr, fap, r_tpt, ttc"):
        read_preset("../fap", ROOT / PRESETS)
    (tmp_path / "bad.yaml").write_text("paper: 1")
    with pytest.raises(ValueError, match="no preset"):
        read_preset("bad", tmp_path)


# each preset on another one of its data sets
MINIATURE_OF = {
    "advpt": "flowers102",
    "apt": "dtd",
    "csr": "sun397",
    "fap": "oxford_pets",
    "r_tpt": "fgvc_aircraft",
    "ttc": "food101",
}
SHORT = {  # one step, and one epoch after that of the warm-up
    "advpt": ["methods.tune_bank.advpt_paper.epochs=2", "attack.steps=1", "oblivious.advpt_pgd_eps16.steps=1"],
    "apt": ["++methods.adversarial.apt.epochs=2", "methods.adversarial.apt.steps=1", "adaptive.apt_pgd_eps4.steps=1"],
    "csr": ["oblivious.csr_pgd_eps4.steps=1"],
    "fap": ["methods.adversarial.fap.epochs=2", "methods.adversarial.fap.steps=1", "adaptive.fap_pgd_eps1.steps=1"],
    "r_tpt": [
        "oblivious.r_tpt_pgd_eps1.steps=1",
        "methods.defended.zero_shot_r_tpt.defence.views=2",
        "methods.defended.zero_shot_r_tpt.defence.neighbours=1",
    ],
    "ttc": ["oblivious.ttc_pgd_eps1.steps=1"],
}


def teach_all_words(path: Path) -> None:
    """Give an embedded model, which knows the words of its own data, embeddings of all others."""
    tensors = load_file(path)
    embeddings = tensors["token_embedding.weight"]
    drawn = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0)).to(embeddings)
    unknown = (embeddings == 0).all(-1, keepdim=True)
    save_file({**tensors, "token_embedding.weight": torch.where(unknown, 0.02 * drawn, embeddings)}, path)


@pytest.fixture(scope="module")
def project(tmp_path_factory, environment) -> Project:
    """A micro project with the presets and with miniatures of their data sets."""
    project = micro_project(tmp_path_factory.mktemp("project") / "presets", environment)
    for name in ("presets", "data/embedded/tiny-tecoa"):
        shutil.copytree(ROOT / name, project.folder / name)
    for name in MINIATURE_OF.values():
        MINIATURES[name].build(project.folder / "data/raw" / name)
    for path in project.folder.glob("data/embedded/tiny-*/open_clip_model.safetensors"):
        teach_all_words(path)
    pixels = {"pixels": {"kind": "adv_vp", "eps": [4], "epochs": 1, "steps": 1, "tuning_seeds": 1, "lr": 0.5}}
    project.change(oblivious={}, adaptive={}, methods__adversarial=pixels)
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "presets")
    return project


@pytest.mark.reliability
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_runs_on_a_miniature_and_leaves_the_workspace_as_it_was(project, name):
    preset, dataset = read_preset(name, ROOT / PRESETS), MINIATURE_OF[name]
    assert dataset in changed_params(ROOT / "params.yaml", changes(name, False)).datasets
    model = project.folder / changed_params(ROOT / "params.yaml", changes(name, True)).model.name.partition(":")[2]
    digest = weights_digest(f"local-dir:{model}", None)
    few = (f"adaptive.{preset.our_attack}.{key}=1" for key in ("steps", "restarts", "targets", "samples"))
    short = [f"datasets=[{dataset}]", f"model.sha256={digest}", *SHORT[name], *few]
    if not preset.method.startswith("defended"):  # else every group is needed
        short += ["~methods.refresh.advpt_refreshed", "~methods.adversarial.pixels"]
    words = [word for change in short for word in ("-S", change)]
    printed = project.run("python", "-m", "stages.preset", name, "--embedded", *words)
    images = len(MINIATURES[dataset].test)
    (row,) = [line for line in printed.splitlines() if line.startswith(dataset)]
    assert row.count(f"n = {images})") == 2, row
    assert project.run("git", "status", "--porcelain") == ""
