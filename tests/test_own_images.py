"""A folder of one's own images and a model at 224 px, with random weights, through the whole pipeline."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from stages.models.clip import weights_digest
from stages.storage.images import images_provenance, read_all_images
from stages.storage.layout import bank_images, clean_images
from tests.imports import ROOT
from tests.micro import Project, yaml
from tests.models.random_models import KINDS, random_model, save_model, save_random

CLASSES = {"barn owl": 30, "great_tit": 90, "kingfisher": 150, "wren <b>": 210}  # name: grey


def write_folder(folder, *, train, test):
    """Images of several sizes and formats; the classes differ by their grey, so nothing is the same image."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name, grey in CLASSES.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                size = (224, 224, 3) if index % 2 else (240, 300, 3)
                noise = generator.integers(-30, 31, size) + grey
                suffix = "png" if index % 3 else "jpg"
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / split / name / f"{index}.{suffix}")
    (folder / "classes.json").write_text(
        json.dumps({"template": "a photo of a {}, a bird.", "names": {"wren <b>": "wren"}})
    )


@pytest.fixture(scope="module")
def birds(fresh) -> Project:
    """The micro project with a folder of birds."""
    write_folder(fresh.folder / "data/raw/my_birds", train=5, test=3)
    fresh.change(datasets=["my_birds"], data__shots=4, data__test_images="all")
    fresh.change(
        oblivious={"pgd_eps8": {"method": "feature_pgd", "objective": "kl", "eps": 8, "steps": 1, "step_ratio": 1.0}}
    )
    fresh.change(adaptive__adaptive_eps4__images=8, adaptive__adaptive_eps4__steps=1, attack__steps=1, tune__epochs=1)
    fresh.change(tune__tuning_seeds=1, assess__images=2)
    shutil.copy(ROOT / "stages/report/style.py", fresh.folder / "stages/report")  # with rendered figures
    return fresh


def test_words_that_the_model_never_learnt_are_refused_before_an_image_is_decoded(birds):
    birds.repro("fetch@my_birds")
    said = birds.fails("dvc", "repro", "-s", "extract@my_birds", code=255)
    assert "barn owl, a bird.': the model never learnt 'barn', 'owl'" in said and "Traceback" not in said


@pytest.fixture(scope="module")
def at_224(birds, tmp_path_factory) -> Project:
    """With a model at 224 px that knows all words."""
    folder = tmp_path_factory.mktemp("model")
    save_random(folder, "custom_text")
    birds.change(model__name=f"local-dir:{folder}", model__sha256=weights_digest(f"local-dir:{folder}", None))
    return birds


@pytest.mark.reliability
def test_the_whole_pipeline_on_ones_own_images(at_224):
    birds = at_224
    assert "plot" in birds.repro()
    name = yaml.load(birds.folder / "params.yaml")["model"]["name"]

    clean = birds.folder / clean_images("my_birds", "train")
    stored = read_all_images(clean)
    assert stored.pixels.shape == (16, 224, 224, 3) and np.bincount(stored.labels).tolist() == [4] * 4
    for id, pixels in zip(stored.ids, stored.pixels, strict=True):
        grey = CLASSES[id.split("/")[1]]
        assert abs(pixels.mean() - grey) < 10, id  # the right image under the right name
    assert images_provenance(birds.folder / bank_images("my_birds"))["victim"]["name"] == name
    metrics = json.loads((birds.folder / "reports/metrics.json").read_text())
    assert set(metrics) == {"my_birds"}
    assert set(metrics["my_birds"]) == {"clean", "pgd_eps8", "adaptive_eps4"}
    assert metrics["my_birds"]["clean"]["zero_shot"]["n"] == 12
    assert birds.repro() == set()


@pytest.mark.reliability
def test_an_ensemble_of_templates_changes_the_zero_shot_method_alone(at_224):
    birds = at_224
    stages = ["evaluate@my_birds-all-zero_shot-zero_shot", "evaluate-refresh@my_birds-all-refresh-advpt_refreshed"]
    birds.repro(*stages)
    birds.change(methods__zero_shot__zero_shot__templates="openai_80")
    assert birds.repro(*stages) == {"zero-shot@my_birds-all-zero_shot", stages[0]}


def test_a_changed_image_of_ones_own_is_noticed(at_224):
    """It does not matter that its name and its date may be the same: DVC compares contents."""
    at_224.repro("extract@my_birds")
    path = at_224.folder / "data/raw/my_birds/test/kingfisher/0.jpg"
    Image.new("RGB", (64, 64), "red").save(path)
    assert at_224.repro("extract@my_birds") == {"fetch@my_birds", "extract@my_birds"}


@pytest.mark.reliability
def test_memory_does_not_grow_with_the_number_of_images(fresh, tmp_path):
    """Eight times as many images of 448 px: their pixels would be 168 MB more. Below, some 40 MB come and stay."""
    width, patch = 448, 64
    model_cfg, preprocess_cfg = KINDS["custom_text"]
    model_cfg = {**model_cfg, "vision_cfg": {**model_cfg["vision_cfg"], "image_size": width, "patch_size": patch}}
    digest = save_model(tmp_path / "model", random_model(model_cfg), model_cfg, preprocess_cfg)
    fresh.change(model__name=f"local-dir:{tmp_path / 'model'}", model__sha256=digest, attack__steps=1)
    fresh.change(data__shots="all", data__test_images="all", data__shard_rows=8)
    fresh.change(runtime__batch_size=4, runtime__workers=1)
    peaks = {}
    for times in (2, 16):
        dataset = f"times_{times}"
        write_folder(fresh.folder / f"data/raw/{dataset}", train=5 * times, test=1)
        for stage in ("fetch", "extract", "craft", "embed"):
            printed = fresh.run("python", "-m", "peak", f"stages.{stage}", dataset)
            peaks[stage, times] = float(printed.splitlines()[-1])
    for stage in ("fetch", "extract", "craft", "embed"):
        assert peaks[stage, 16] < peaks[stage, 2] + 40, (stage, peaks)
