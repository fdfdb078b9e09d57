"""What the report reads: every method of a study by name, held against params.yaml once."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stages.report.inputs import assessed_method, methods_of, read_study, studies_of
from stages.runtime.method_blocks import Defended
from stages.runtime.params import load_params
from stages.storage import layout
from stages.storage.card import Card, write_card
from stages.storage.parquet import read_table, write_table
from stages.storage.prompts import PromptFile, save_prompts

CURVE = {"dataset": "fashion", "seed": 0, "epoch": 1, "loss": 1.0, "accuracy": 0.5}


@pytest.fixture
def params(monkeypatch, tmp_path):
    found = load_params()
    monkeypatch.chdir(tmp_path)
    return found


def rows_of(threat, method, *, images=4):
    table = pd.DataFrame({"id": [str(at) for at in range(images)], "label": 0, "prediction": 0, "correct": True})
    table = table.assign(dataset="fashion", threat=threat, method=method, seed=0, margin=np.float32(1))
    return pa.Table.from_pylist(table.to_dict("records"))


def write_study(params, study="all", **changes):
    """Write the files of every method; `changes` are of the provenance of the predictions under the first threats."""
    layout.card_file("fashion").parent.mkdir(parents=True)
    write_card(
        layout.card_file("fashion"),
        Card(name="fashion", class_names=["a", "b"], template="{}", sha256="0", origin="o", licence="l", splits="s",
             packed=False, notes=[]),
    )  # fmt: skip
    oblivious = {name: {"attack": attack.model_dump()} for name, attack in params.oblivious.items()}
    for method in params.methods.all():
        made = {"dataset": "fashion", "study": study, "method": method.name, "seed": params.seed}
        made["block"] = json.loads(json.dumps(method.settings(params.tune)))
        if method.group == "tune_bank":
            made["attack"] = params.attack.model_dump()
        place = ("fashion", study, method.group, method.name)
        layout.method_folder(*place).mkdir(parents=True)
        save_prompts(
            layout.prompts_file(*place), PromptFile(np.ones((1, 2, 3), np.float32), 1.0, ["a", "b"], "{}", made)
        )
        if method.group != "zero_shot":
            curve = pa.table({name: [value] for name, value in {**CURVE, "method": method.name}.items()})
            write_table(layout.method_folder(*place) / "tuning.parquet", [curve], made)
        tables = [rows_of(threat, method.name) for threat in ("clean", *params.oblivious)]
        about = {"features": {**oblivious, **changes.get("oblivious", {})}}
        write_table(layout.predictions_file(*place, "oblivious"), tables, about)
        for threat, attack in params.adaptive.items():
            about = {"images": {"attack": {**attack.model_dump(), **changes.get("adaptive", {})}}}
            write_table(layout.predictions_file(*place, threat), [rows_of(threat, method.name, images=2)], about)


def test_a_study_has_the_rows_of_all_its_methods(params):
    write_study(params)
    study = read_study("fashion", "all", params)
    names = [method.name for method in params.methods.all()]
    assert [method.name for method in study.methods] == names and list(study.provenances) == names
    assert list(study.predictions) == ["clean", *params.oblivious, *params.adaptive, "worst_eps4", "worst_eps8"]
    assert study.predictions["clean"]["method"].value_counts().to_dict() == dict.fromkeys(names, 4)
    assert study.predictions[next(iter(params.adaptive))]["method"].value_counts().to_dict() == dict.fromkeys(names, 2)
    assert study.curves["method"].tolist() == names[1:] and study.class_names == ["a", "b"]
    assert study.curves.dtypes[["seed", "epoch", "loss"]].tolist() == [int, int, float]
    assert study.bank_eps == params.attack.eps and study.title == "fashion"


def test_a_method_of_other_parameters_is_refused(params):
    write_study(params)
    other = params.model_copy(update={"tune": params.tune.model_copy(update={"lr": 0.5})})
    with pytest.raises(ValueError, match=r"prompts.safetensors: made with block = "):
        read_study("fashion", "all", other)


@pytest.mark.parametrize("kind", ["oblivious", "adaptive"])
def test_predictions_under_another_attack_are_refused(params, kind):
    threat = next(iter(params.oblivious))
    change = {threat: {"attack": {"eps": 1}}} if kind == "oblivious" else {"eps": 1}
    write_study(params, **{kind: change})
    with pytest.raises(ValueError, match=r"parquet: made with attack = .*'eps': 1"):
        read_study("fashion", "all", params)


def test_versions_of_the_suite_are_not_mixed(params):
    write_study(params)
    path = layout.predictions_file("fashion", "all", "zero_shot", "zero_shot", "adaptive_eps8")
    table, made_by = read_table(path)
    write_table(path, [table], {"images": made_by["images"] | {"suite": 3}})
    with pytest.raises(ValueError, match=rf"{path} \(version 3\).*one version"):
        read_study("fashion", "all", params)


def test_predictions_that_are_missing_are_an_error_that_names_the_file(params):
    write_study(params)
    path = layout.predictions_file("fashion", "all", "zero_shot", "zero_shot", "oblivious")
    path.unlink()
    with pytest.raises(ValueError, match=str(path)):
        read_study("fashion", "all", params)


def test_studies_are_data_sets_then_transfers_then_halves(params):
    transfer = params.transfer.model_copy(update={"sources": ["fashion"], "targets": ["dtd", "food101"]})
    changed = params.model_copy(update={"transfer": transfer, "base_to_new": ["fashion"]})
    assert studies_of(changed) == [
        ("fashion", "all"), ("dtd", "fashion"), ("food101", "fashion"), ("fashion", "base"), ("fashion", "new"),
    ]  # fmt: skip


def test_methods_behind_a_defence_are_in_no_half(params):
    behind = Defended(method="advpt", defence={"kind": "jpeg", "quality": 75})
    defended = params.methods.model_copy(update={"defended": {"behind": behind}})
    changed = params.model_copy(update={"methods": defended})
    assert methods_of(changed, "all")[-1].name == "behind"
    assert "behind" not in [method.name for method in methods_of(changed, "base")]
    assert f"{assessed_method(changed).group}/{assessed_method(changed).name}" == params.assess.method


BEHIND_JPEG = {"cost": {"forwards": 1, "backwards": 0}, "method": {"block": {"defence": {"kind": "jpeg"}}}}


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        ({}, "1 forward"),
        ({"cost": {"forwards": 4, "backwards": 1}}, "4 forwards + 1 backward"),
        ({"cost": {"forwards": 40, "backwards": 0, "text": 15}}, "40 forwards + 15 of text"),
        (BEHIND_JPEG, "1 forward + jpeg"),
    ],
)
def test_what_a_prediction_costs_is_read_from_where_it_was_counted(params, counted, words):
    write_study(params)
    place = ("fashion", "all", "zero_shot", "zero_shot")
    path = layout.predictions_file(*place, "oblivious")
    table, provenance = read_table(path)
    write_table(path, [table], provenance | counted)
    assert read_study("fashion", "all", params).methods[0].cost == words
