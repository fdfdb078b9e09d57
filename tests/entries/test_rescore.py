"""An entry is good as long as its images, prompts and record agree; every other is refused with one message."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stages.entries import drawn
from stages.entries.pack import require_replaceable
from stages.entries.record import ENTRIES, ENTRY, PROMPTS, UncheckedError, accuracies_of, read_entry
from stages.entries.rescore import rescore
from stages.runtime.params import Runtime
from stages.storage.images import write_images
from stages.storage.notes import write_note
from stages.storage.parquet import checksum_of, read_table, write_table
from stages.storage.prompts import load_prompts, save_prompts
from tests.entries.changed import EPS, Copy, without
from tests.imports import ROOT

RUNTIME = Runtime(device="cpu", batch_size=64, workers=1, engine="local", actor_cpus=1)
COMMITTED = sorted((ROOT / ENTRIES).iterdir())


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path / "entry")


def refused(copy, message):
    with pytest.raises(ValueError, match=message):
        rescore(copy.sign(), runtime=RUNTIME)


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_every_committed_entry_is_good(folder):
    assert rescore(folder, runtime=RUNTIME)["results"]


def test_embedded_data_gives_the_clean_images_whatever_the_pipeline_has(copy, monkeypatch, tmp_path):
    few = drawn.draw("fashion", "all", 20, seed=0)  # as `data.test_images` leaves them
    write_images(tmp_path / "few", [few], {})
    monkeypatch.setattr(drawn, "clean_images", lambda dataset, split: tmp_path / "few")
    assert rescore(copy.sign(), runtime=RUNTIME)
    monkeypatch.setattr(drawn, "clean_images", lambda dataset, split: tmp_path / "nowhere")
    with pytest.raises(ValueError, match="dvc repro extract"):
        drawn.draw("flowers102", "all", 10, seed=0)


def test_embedded_images_are_brought_to_the_size_of_the_model():
    larger = drawn.draw("fashion", "all", 10, seed=0, fit=lambda image: np.asarray(image.resize((64, 64))))
    assert larger.pixels.shape == (10, 64, 64, 3)
    assert larger.ids == drawn.draw("fashion", "all", 10, seed=0).ids


def test_a_method_that_no_attack_fools(copy):
    shutil.rmtree(copy.images_folder)
    for id in copy.fallen()["id"]:
        copy.fell_to(id, "")
    rows = copy.outcomes.loc[copy.outcomes["eps"] == EPS, "fell_to"]
    copy.result.update(accuracies_of(rows, copy.result["strongest_oblivious"]))
    copy.sign()
    rescored = next(one for one in rescore(copy.folder, runtime=RUNTIME)["results"] if one["eps"] == EPS)
    assert rescored["adaptive"] == rescored["oblivious"] == rescored["clean"]


def adaptive(copy):
    return next(one for one in copy.result["threats"].values() if one["knowledge"] == "adaptive")


def pgd(copy):
    attack = adaptive(copy)["attack"]
    for key in ("targets", "queries"):
        del attack[key]
    attack |= {"method": "pgd", "objective": "margin", "step_ratio": 2.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda copy: adaptive(copy).update(knowledge="oblivious"), "'suite'"),
        (lambda copy: copy.result["threats"].pop("adaptive_eps4"), "no adaptive threat is of the method suite"),
        (pgd, "no adaptive threat is of the method suite"),
        (lambda copy: adaptive(copy).update(attack={}), "Unable to extract tag"),
        (lambda copy: adaptive(copy)["attack"].update(steps=0), "steps: .*greater than or equal to 1"),
        (lambda copy: adaptive(copy)["attack"].update(eps=1.0), "is an attack of eps 1"),
        (lambda copy: copy.record.update(suite=999), "suite 999; the newest one here is"),
        (lambda copy: copy.record.update(suite=10**400), "the newest one here is"),
    ],
)
def test_an_adaptive_number_needs_the_suite(copy, change, message):
    change(copy)
    refused(copy, message)


@pytest.mark.parametrize("strongest", [None, "adaptive_eps4", "pgd_eps8"])
def test_the_strongest_oblivious_threat_is_one_of_the_eps(copy, strongest):
    copy.result.update(strongest_oblivious=strongest)
    copy.result.update(accuracies_of(copy.outcomes.loc[copy.outcomes["eps"] == EPS, "fell_to"], strongest))
    refused(copy, rf"strongest_oblivious: {strongest!r} is no oblivious threat of this eps: \['pgd_eps4'\]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": None}, "class names None"),
        ({"class_names": list("abcdefghij")[::-1]}, "those of the data set are"),
        ({"class_names": list(range(10))}, "those of the data set are"),
        ({"text_features": np.zeros((0, 10, 128), np.float32)}, "has tuning seeds from 0 to -1"),
        ({"text_features": np.full((1, 10, 64), 0.125, np.float32)}, r"\(1, 10, 128\) is needed"),
        (
            {"text_features": np.full((3, 3, 128), 0.125, np.float32)},
            r"\(3, 3, 128\); float32 \(3, 10, 128\) is needed",
        ),
        ({"text_features": np.ones((1, 10, 128), np.float32)}, "not of unit norm"),
        ({"text_features": np.full((1, 10, 128), np.nan, np.float32)}, "text_features holds NaN"),
        ({"pixels": np.zeros((3, 3, 32, 32))}, "pixels of float64"),
        ({"logit_bias": np.zeros(10, np.float32)}, r"\(3, 10\) is needed"),
        ({"tokens": np.zeros((3, 1, 1, 8), np.float32)}, "takes no token prompts"),
        ({"router": np.zeros((3, 2, 128), np.float32)}, "belong together"),
        ({"context": np.zeros((3, 0, 64), np.float32)}, r"\(3, any, 64\) is needed"),
        ({"logit_scale": 0.0}, "logit_scale is 0"),
        ({"provenance": {"tuned": "x"}}, "provenance: tuned: "),
        ({"provenance": {"behind": "x"}}, "provenance: behind: "),
        ({"provenance": {"block": None}}, "provenance: block: "),
        ({"provenance": {"block": []}}, "provenance: block: "),
        ({"provenance": {"tuned": {"block": {}}}}, "exclude each other"),
        ({"provenance": {"attack": {}}}, "group tune_bank: its provenance has no attack"),
    ],
)
def test_prompts_that_do_not_fit(copy, changes, message):
    copy.remake(**changes)
    refused(copy, message)


def text_features_of(method):
    """The text features of another method, as many seeds as the first has."""
    return load_prompts(ROOT / ENTRIES / f"fashion-tiny-clip-{method}" / PROMPTS).text_features


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("zero_shot", {"pixels": np.zeros((1, 3, 32, 32), np.float32)}, r"learnt \[\], but the file has \['pixels'\]"),
        ("zero_shot", {"logit_bias": np.zeros((1, 10), np.float32)}, r"learnt \[\], but the file has \['logit_bias'\]"),
        ("zero_shot", {"context": np.zeros((1, 4, 64), np.float32)}, r"learnt \[\], but the file has \['context'\]"),
        ("zero_shot", {"text_features": text_features_of("coop")[:1]}, "text_features are not those that the method"),
        ("zero_shot", {"text_features": text_features_of("advpt")}, r"\(3, 10, 128\); the method gives \(1, 10, 128\)"),
        ("tte", {"pixels": np.zeros((1, 3, 32, 32), np.float32)}, r"learnt \[\], but the file has \['pixels'\]"),
        ("tte", {"text_features": text_features_of("coop")[:1]}, "text_features are not those that the method"),
        ("tte_pixel_prompt", {"pixels": None}, r"learnt \['pixels'\], but the file has \[\]"),
        ("coop", {"context": None}, r"learnt \['context'\], but the file has \[\]"),
        ("coop", {"context": np.zeros((3, 4, 64), np.float32)}, r"\(3, 4, 64\); its method has learnt \(3, 16, 64\)"),
        ("coop", {"text_features": text_features_of("advpt")}, "text_features are not those that the method"),
        ("class_bias", {"logit_bias": None}, r"learnt \['logit_bias'\], but the file has \[\]"),
        ("pixel_prompt", {"logit_scale": 1e6}, "logit_scale is 1000000.0; that of the model is"),
    ],
)
def test_arrays_that_are_not_the_methods_own(tmp_path, method, changes, message):
    copy = Copy(tmp_path / "entry", method)
    copy.remake(**changes)
    refused(copy, message)


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("tte", lambda made: made.pop("behind"), "group defended: its provenance has no method behind it"),
        (
            "coop",
            lambda made: made.update(behind={"block": {}}),
            "group tune_clean: its provenance has a method behind",
        ),
        ("tte", lambda made: made["behind"].update(method="coop"), "made with method = coop"),
        ("tte", lambda made: made["behind"].update(dataset="fashion_second"), "made with dataset = fashion_second"),
        ("tte", lambda made: made["behind"].update(block={"kind": "os"}), "group adversarial: .*'os'"),
        ("tte", lambda made: made.update(tuned={"block": made.pop("block")}), "behind and tuned exclude each other"),
    ],
)
def test_what_is_behind_a_defence(tmp_path, method, change, message):
    copy = Copy(tmp_path / "entry", method)
    prompts = copy.prompts
    change(prompts.provenance)
    save_prompts(copy.folder / PROMPTS, prompts)
    refused(copy, message)


def test_tokens_deeper_than_the_image_tower(tmp_path):
    copy = Copy(tmp_path / "entry", "zero_shot", model="tiny-vit")
    copy.remake(tokens=np.zeros((1, 99, 1, 128), np.float32))
    refused(copy, "tokens of 99 blocks; the image tower has")


@pytest.mark.parametrize("shape", [[32, 96], "abc", [-32, 32, -3], None])
def test_a_shard_of_another_shape(copy, shape):
    path = copy.images_folder / "00000.parquet"
    table, _ = read_table(path)
    write_table(path, [table], {"shape": shape})
    manifest, checksums = path.with_name("manifest.json"), map(checksum_of, sorted(path.parent.glob("*.parquet")))
    write_note(manifest, {"shards": list(checksums), "provenance": {}})
    refused(copy, r"images of shape \[32, 32, 3\]")


def sign_shard(copy, table):
    """Store a table as the only shard at EPS."""
    shutil.rmtree(copy.images_folder)
    path = copy.images_folder / "00000.parquet"
    write_table(path, [table], {"shape": [32, 32, 3]})
    write_note(path.with_name("manifest.json"), {"shards": [checksum_of(path)], "provenance": {}})


@pytest.mark.parametrize("rows", [201, 100_000])
def test_more_rows_than_images_are_refused_unread(copy, monkeypatch, rows):
    zeros = pa.Array.from_buffers(pa.binary(3072), rows, [None, pa.py_buffer(bytes(3072 * rows))])
    sign_shard(copy, pa.table({"id": pa.repeat("a", rows), "label": pa.repeat(0, rows), "image": zeros}))
    assert (copy.images_folder / "00000.parquet").stat().st_size < 3000
    monkeypatch.setattr("stages.entries.rescore.read_images", None)
    refused(copy, f"00000.parquet: {rows} rows; entry.json allows at most 200")


def test_more_outcomes_than_images_are_refused_unread(copy, monkeypatch):
    copy.outcomes = pd.concat([copy.outcomes] * 3, ignore_index=True)
    copy.sign()
    monkeypatch.setattr("stages.entries.record.read_table", None)
    with pytest.raises(ValueError, match=r"outcomes.parquet: 1200 rows; entry.json allows at most 400"):
        rescore(copy.folder, runtime=RUNTIME)


def test_a_shard_with_another_column(copy):
    table, _ = read_table(copy.images_folder / "00000.parquet")
    sign_shard(copy, table.append_column("more", pa.repeat("x" * 1000, len(table))))
    refused(copy, r"'image of fixed_size_binary\[3072\]', 'more of string'\]; .* are needed")


def truncate(copy):
    path = copy.images_folder / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])


def add_an_empty_shard(copy):
    images = copy.images
    shutil.rmtree(copy.images_folder)
    write_images(copy.images_folder, [images, images.take(slice(0))], {})


def use_another_version(copy):
    copy.record["data"]["sha256"] = "0" * 64
    copy.remake(provenance={"dataset_sha256": "0" * 64})


FORGED = {
    "another cost": (
        lambda copy: copy.record["method"].update(cost="0 forwards"), "cost is stated as '0 forwards'; .* '1 forward'"
    ),
    "a number worse than the images give": (
        lambda copy: copy.result["adaptive"].update(accuracy=0.01), "adaptive is stated as .* give "
    ),
    "another version of the data set": (use_another_version, "that of the data set here is 2a1001fd"),
    "attacked images of an eps without results": (
        lambda copy: shutil.copytree(copy.images_folder, copy.folder / "images/eps77"), "nothing fell at such an eps"
    ),
    "an empty shard": (add_an_empty_shard, "an empty shard"),
    "a truncated file with a digest of its own": (truncate, "damaged"),
    "labels of attacked images": (
        lambda copy: copy.store(replace(copy.images, labels=(copy.images.labels + 1) % 10)), "has label"
    ),
    "an image that is there twice": (lambda copy: copy.store(copy.images.take(np.array([0, *range(2)]))), "twice"),
    "an image that fell but is stated to withstand": (
        lambda copy: copy.fell_to(copy.fallen()["id"].iloc[0], ""), "count as not fallen"
    ),
    "an outcome without its image": (
        lambda copy: copy.store(without(copy.images, copy.images.ids[0])), "count as fallen, but are not there"
    ),
    "prompts of another method": (
        lambda copy: shutil.copy(ROOT / ENTRIES / "fashion-tiny-clip-coop" / PROMPTS, copy.folder), "made with"
    ),
    "another model": (lambda copy: copy.record["model"].update(sha256="0" * 64), "made with model"),
}  # fmt: skip


@pytest.mark.parametrize("group", ["tune_clean", "zero_shot", "refresh"])
def test_a_group_that_is_not_the_prompts_own(copy, group):
    copy.record["method"]["group"] = group
    refused(copy, f"group {group}: ")


@pytest.mark.parametrize("seed", [3, 99, 10**30])
def test_a_tuning_seed_that_the_prompts_do_not_have(copy, seed):
    copy.record["method"]["tuning_seed"] = seed
    refused(copy, f"seed: {seed}; .* has tuning seeds from 0 to 2")


@pytest.mark.parametrize("column", ["clean", "oblivious", "adaptive"])
def test_a_number_better_than_the_images_allow(copy, column):
    copy.result[column]["accuracy"] = 0.99
    refused(copy, f"{column} is stated as .*allow no more than")


@pytest.mark.parametrize("name", FORGED)
def test_what_does_not_agree_is_refused(copy, name):
    change, message = FORGED[name]
    change(copy)
    refused(copy, message)


def test_images_outside_the_ball(copy):
    images = copy.images
    pixels = images.pixels.copy()
    pixels[3, 5, 5, 0] = (int(pixels[3, 5, 5, 0]) + 128) % 256
    copy.store(replace(images, pixels=pixels))
    refused(copy, f"{images.ids[3]}' is .*at most 4/255 is allowed")


def test_a_label_that_is_not_the_data_sets(copy):
    copy.outcomes.loc[0, "label"] = (copy.outcomes.loc[0, "label"] + 1) % 10
    refused(copy, f"image '{copy.outcomes.loc[0, 'id']}' has label")


def test_images_that_were_chosen_instead_of_drawn(copy):
    everything = drawn.draw("fashion", "all", 1000, seed=0)
    other = next(id for id in everything.ids if id not in set(copy.outcomes["id"]))
    copy.outcomes.loc[copy.outcomes["id"] == copy.outcomes.loc[0, "id"], "id"] = other
    refused(copy, "not the class-balanced draw")


def test_an_image_that_does_not_fool_the_method(copy):
    images = copy.images
    clean = drawn.draw("fashion", "all", 200, seed=0)
    pixels = images.pixels.copy()
    pixels[0] = clean.pixels[clean.ids.index(images.ids[0])]
    copy.store(replace(images, pixels=pixels))
    refused(copy, "right on attacked images that count as fallen: 1")


def test_a_clean_image_stated_as_wrong(copy):
    id = copy.fallen()["id"].iloc[0]
    copy.store(without(copy.images, id))
    copy.fell_to(id, "clean")
    refused(copy, f"right on the clean image '{id}'")


def test_a_file_that_changed_after_packing(copy):
    truncate(copy)
    with pytest.raises(ValueError, match="damaged or changed"):
        rescore(copy.folder, runtime=RUNTIME)


def test_a_missing_shard(copy):
    (copy.images_folder / "00000.parquet").unlink()
    with pytest.raises(ValueError, match=r"00000.parquet: missing"):
        rescore(copy.folder, runtime=RUNTIME)
    refused(copy, "shards there, 2 expected")


def test_a_file_that_the_record_does_not_state(copy):
    (copy.folder / "more.txt").write_text("")
    with pytest.raises(ValueError, match="does not state this file"):
        rescore(copy.folder, runtime=RUNTIME)


def test_a_link(copy):
    (copy.folder / PROMPTS).unlink()
    (copy.folder / PROMPTS).symlink_to(ROOT / ENTRIES / "fashion-tiny-clip-advpt" / PROMPTS)
    with pytest.raises(ValueError, match="no regular file"):
        rescore(copy.folder, runtime=RUNTIME)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda copy: copy.result["adaptive"].update(accuracy=float("nan")), "NaN is no number"),
        (lambda copy: copy.result["adaptive"].update(accuracy=1.5), "maximum of 1"),
        (lambda copy: copy.record["method"].pop("label"), "'label' is a required property"),
        (lambda copy: copy.record["method"].update(label=""), "'' does not match"),
        (lambda copy: copy.record["method"].update(label="=HYPERLINK(A1)"), "does not match"),
        (lambda copy: copy.record["method"].update(label="+1"), "does not match"),
        (lambda copy: copy.record["method"].update(label="-1"), "does not match"),
        (lambda copy: copy.record["method"].update(label="@SUM(A1)"), "does not match"),
        (lambda copy: copy.record["method"].update(label="\t=1"), "does not match"),
        (lambda copy: copy.record["method"].update(cost=""), "cost: '' should be non-empty"),
        (lambda copy: copy.record["model"].update(precision="bf16"), "'precision' was unexpected"),
        (lambda copy: copy.record.update(versions={}), "is a required property"),
        (lambda copy: copy.record["versions"].pop("torch"), "'torch' is a required property"),
        (lambda copy: copy.record["versions"].update(numpy=""), "'' should be non-empty"),
        (lambda copy: copy.record["files"].update({"../prompts.safetensors": "0" * 64}), "does not match"),
        (lambda copy: copy.record["data"].update(n=200.0), "200.0 is not of type 'integer'"),
        (lambda copy: copy.record["method"].update(tuning_seed=0.0), "0.0 is not of type 'integer'"),
        (lambda copy: copy.record["method"].update(label="\ud800"), "no valid JSON"),
        (lambda copy: copy.record.update(date="9999-99-99"), "is not a 'date'"),
        (lambda copy: copy.record["method"].update(name="advpt\n"), "does not match"),
        (lambda copy: copy.record["files"].update({"outcomes.parquet\n": "0" * 64}), "does not match"),
        (lambda copy: copy.record["data"].update(n=10**12), "maximum of 1000000"),
        (lambda copy: copy.record.update(commit="0" * 2_000_000), "at most 1000000 are allowed"),
    ],
)
def test_a_record_that_does_not_fit_the_schema(copy, change, message):
    change(copy)
    (copy.folder / ENTRY).write_text(json.dumps(copy.record))
    with pytest.raises(ValueError, match=message):
        rescore(copy.folder, runtime=RUNTIME)


def test_brackets_in_brackets(copy):
    (copy.folder / ENTRY).write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match=r"no valid JSON \(maximum recursion depth exceeded"):
        rescore(copy.folder, runtime=RUNTIME)


def rename(block, old, new):
    block[new] = block.pop(old)


def set_block(copy, **changes):
    """Change the block of the method in the record and in the prompts."""
    copy.record["method"]["block"] |= changes
    copy.remake(provenance={"block": copy.record["method"]["block"]})


def rename_rate(copy):
    rename(copy.record["method"]["block"], "lr", "learning_rate")
    set_block(copy)


def drop_rounds(copy):
    del copy.record["method"]["block"]["rounds"]
    set_block(copy)


def drop_context_length(copy):
    del copy.record["method"]["block"]["context_length"]
    set_block(copy)


OF_ANOTHER_VERSION = {
    "a key of the block `tune` was added": ("coop", drop_context_length, "context_length: Field required"),
    "a key of a method was renamed": ("advpt", rename_rate, "advpt: unknown key 'learning_rate'"),
    "a key of a method was added": ("advpt_refreshed", drop_rounds, "rounds: Field required"),
    "a key of an attack was renamed": (
        "advpt",
        lambda copy: rename(adaptive(copy)["attack"], "steps", "iterations"),
        "unknown key 'iterations'",
    ),
    "a defence is not there": (
        "csr",
        lambda copy: set_block(copy, defence={"kind": "later"}),
        "csr.defence: Input tag 'later'",
    ),
}


def place_of(record):
    return *(record["data"][key] for key in ("dataset", "study")), *(record["method"][key] for key in ("group", "name"))


@pytest.mark.parametrize(
    ("place", "seed"),
    [
        (("fashion_second", "all", "tune_bank", "advpt"), 0),
        (("fashion", "base", "tune_bank", "advpt"), 0),
        (("fashion", "all", "tune_clean", "advpt"), 0),
        (("fashion", "all", "tune_bank", "coop"), 0),
        (("fashion", "all", "tune_bank", "advpt"), 1),
    ],
)
def test_only_the_entry_of_the_same_method_and_draw_is_replaced(copy, place, seed):
    require_replaceable(copy.sign(), copy.record["model"], place_of(copy.record), 0)
    with pytest.raises(ValueError, match="the entry of fashion/all/tune_bank/advpt, draw 0, not of"):
        require_replaceable(copy.folder, copy.record["model"], place, seed)


@pytest.mark.parametrize("name", OF_ANOTHER_VERSION)
def test_an_entry_with_other_keys_is_readable_and_neither_good_nor_bad(tmp_path, name):
    method, change, message = OF_ANOTHER_VERSION[name]
    copy = Copy(tmp_path / "entry", method)
    change(copy)
    with pytest.raises(UncheckedError, match=f"{message}.*at the commit that entry.json states"):
        rescore(copy.sign(), runtime=RUNTIME)
    assert read_entry(copy.folder) == copy.record
    require_replaceable(copy.folder, copy.record["model"], place_of(copy.record), 0)


def test_a_value_that_is_not_allowed_is_bad_beside_a_key_of_another_version(tmp_path):
    copy = Copy(tmp_path / "entry", "advpt_refreshed")
    del copy.record["method"]["block"]["rounds"]
    set_block(copy, lr=-1.0)
    with pytest.raises(ValueError, match="lr: Input should be greater than 0") as error:
        rescore(copy.sign(), runtime=RUNTIME)
    assert not isinstance(error.value, UncheckedError)


def test_a_key_that_stands_twice(copy):
    path = copy.folder / ENTRY
    path.write_text(path.read_text().replace('"suite":', '"suite": 1, "suite":', 1))
    with pytest.raises(ValueError, match="a key stands twice"):
        rescore(copy.folder, runtime=RUNTIME)
