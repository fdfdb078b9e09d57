"""Presets: changes that params.yaml takes, and three numbers side by side."""

import shutil

import pytest
from dvc.utils.hydra import apply_overrides

from stages.entries.presets import PRESETS, compared, read_preset
from stages.runtime.params import load_params
from tests.imports import ROOT

NAMES = sorted(path.stem for path in (ROOT / PRESETS).glob("*.yaml"))


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_params_yaml_takes_the_changes_of_a_preset_twice(name, embedded, tmp_path):
    preset, path = read_preset(name, ROOT / PRESETS), tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    for _ in range(2):  # a run leaves its changes there
        apply_overrides(path, preset.changes(embedded=embedded))
    params = load_params(path)
    assert params.methods.find(*preset.method.split("/"))
    attacks = {**params.oblivious, **params.adaptive}
    assert attacks[preset.their_attack].eps == attacks[preset.our_attack].eps
    assert params.adaptive[preset.our_attack].method == "suite"
    assert (params.datasets == ["fashion"]) is embedded


def test_three_numbers_by_hand():
    preset = read_preset("fap", ROOT / PRESETS)
    metrics = {
        "a": {"fap_pgd_eps1": {"fap": {"accuracy": 0.4}}, "suite_eps1": {"fap": {"accuracy": 0.2}}},
        "b": {
            "fap_pgd_eps1": {"fap": {"accuracy": 0.6}},
            "suite_eps1": {"fap": {"accuracy": 0.3}},
            "worst_eps1": {"fap": {"accuracy": 0.1}},
        },
    }
    table = compared(preset, metrics, ["a", "b"])
    assert table.loc["mean"].tolist() == ["34.6", "50.0", "15.0"]
    assert table.loc["b"].tolist() == ["", "60.0", "10.0"]


def test_a_preset_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there are: advpt, apt, csr, fap, r_tpt, ttc"):
        read_preset("../fap", ROOT / PRESETS)
    (tmp_path / "bad.yaml").write_text("paper: 1")
    with pytest.raises(ValueError, match="no preset"):
        read_preset("bad", tmp_path)
