"""An entry is good as long as its images, prompts and record agree; every other is refused with one message."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from stages.entries import drawn
from stages.entries.record import ENTRIES, ENTRY, PROMPTS
from stages.entries.rescore import rescore
from stages.runtime.params import Runtime
from stages.storage.prompts import load_prompts, save_prompts
from tests.entries.changed import Copy, without
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


def test_embedded_data_gives_the_clean_images_without_the_pipeline(copy, monkeypatch, tmp_path):
    monkeypatch.setattr(drawn, "clean_images", lambda dataset, split: tmp_path / "nowhere")
    assert rescore(copy.sign(), runtime=RUNTIME)
    with pytest.raises(ValueError, match="dvc repro extract"):
        drawn.draw("flowers102", "all", 10, seed=0)


def test_images_outside_the_ball(copy):
    images = copy.images
    pixels = images.pixels.copy()
    pixels[3, 5, 5, 0] = (int(pixels[3, 5, 5, 0]) + 128) % 256
    copy.store(replace(images, pixels=pixels))
    refused(copy, f"{images.ids[3]}' is .*at most 4/255 is allowed")


def test_a_label_that_is_not_the_data_sets(copy):
    copy.outcomes.loc[0, "label"] = (copy.outcomes.loc[0, "label"] + 1) % 10
    refused(copy, f"image '{copy.outcomes.loc[0, 'id']}' has label")


def test_a_label_of_an_attacked_image(copy):
    images = copy.images
    copy.store(replace(images, labels=(images.labels + 1) % 10))
    refused(copy, "has label")


def test_images_that_were_chosen_instead_of_drawn(copy):
    everything = drawn.draw("fashion", "all", 1000, seed=0)
    other = next(id for id in everything.ids if id not in set(copy.outcomes["id"]))
    copy.outcomes.loc[copy.outcomes["id"] == copy.outcomes.loc[0, "id"], "id"] = other
    refused(copy, "not the class-balanced draw")


def test_an_image_that_is_there_twice(copy):
    images = copy.images
    copy.store(images.take(np.array([0, *range(len(images))])))
    refused(copy, "twice")


@pytest.mark.parametrize("column", ["clean", "oblivious", "adaptive"])
def test_a_number_better_than_the_images_allow(copy, column):
    copy.result[column]["accuracy"] = 0.99
    refused(copy, f"{column} is stated as .*allow no more than")


def test_a_number_worse_than_the_images_give(copy):
    copy.result["adaptive"]["accuracy"] = 0.01
    refused(copy, "adaptive is stated as .* give ")


def test_an_image_that_fell_but_is_stated_to_withstand(copy):
    copy.fell_to(copy.fallen()["id"].iloc[0], "")
    refused(copy, "count as not fallen")


def test_an_outcome_without_its_image(copy):
    copy.store(without(copy.images, copy.images.ids[0]))
    refused(copy, "count as fallen, but are not there")


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


def test_prompts_of_another_method(copy):
    shutil.copy(ROOT / ENTRIES / "fashion-tiny-clip-coop" / PROMPTS, copy.folder / PROMPTS)
    refused(copy, "made with")


def test_another_model(copy):
    copy.record["model"]["sha256"] = "0" * 64
    refused(copy, "made with model")


def test_prompts_that_hold_nan(copy):
    prompts = load_prompts(copy.folder / PROMPTS)
    prompts.text_features[0, 0, 0] = np.nan
    save_prompts(copy.folder / PROMPTS, prompts)
    refused(copy, "text_features holds NaN")


def test_prompts_of_another_shape(copy):
    prompts = load_prompts(copy.folder / PROMPTS)
    save_prompts(copy.folder / PROMPTS, replace(prompts, text_features=prompts.text_features[:, :3]))
    refused(copy, "do not fit 10 class names")


def test_a_file_that_changed_after_packing(copy):
    path = copy.images_folder / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged or changed"):
        rescore(copy.folder, runtime=RUNTIME)


def test_a_truncated_file_with_a_digest_of_its_own(copy):
    path = copy.images_folder / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    refused(copy, "damaged")


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
        (lambda record: record["result"]["adaptive"].update(accuracy=float("nan")), "NaN is no number"),
        (lambda record: record["result"]["adaptive"].update(accuracy=1.5), "maximum of 1"),
        (lambda record: record["method"].pop("label"), "'label' is a required property"),
        (lambda record: record["files"].update({"../prompts.safetensors": "0" * 64}), "does not match"),
    ],
)
def test_a_record_that_does_not_fit_the_schema(copy, change, message):
    change({**copy.record, "result": copy.result})
    (copy.folder / ENTRY).write_text(json.dumps(copy.record))
    with pytest.raises(ValueError, match=message):
        rescore(copy.folder, runtime=RUNTIME)
