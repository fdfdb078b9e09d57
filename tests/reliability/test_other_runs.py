"""Pieces of an interrupted run are gone on with only if nothing has changed that decides about them."""

import re
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from stages import assess
from stages.datasets.index import read_index
from stages.storage import files, provenance
from stages.storage.images import images_provenance, read_all_images, write_images
from stages.storage.layout import card_file, clean_images, prompts_file, raw_folder
from stages.storage.notes import read_note, write_note
from stages.storage.prompts import load_prompts, save_prompts
from tests.reliability.small import Small
from tests.reliability.test_full_disk import full_from

CRAFT, EMBED, TUNE = ("craft", "fashion"), ("embed", "fashion"), ("tune", "fashion", "all", "tune_clean", "coop")
ADAPTIVE = ("attack_adaptive", "fashion", "all", "tune_bank", "advpt", "adaptive_eps4")


def interrupt(small: Small, stage: tuple[str, ...], monkeypatch) -> None:
    """Leaves the pieces of a run that found the disk full."""
    small.remove(*stage)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full_from(8))
        code, said = small.finish(*stage)
    assert code == 1 and "the disk is full" in said


def change_params(**values: object):
    """A change of params.yaml; `a__b` stands for a.b."""

    def change(small: Small, monkeypatch) -> None:
        for key, value in values.items():
            block, name = key.split("__")
            small.params[block][name] = value
        small.write_params()

    return change


def change_shard(small: Small, monkeypatch) -> None:
    """Another pixel in every clean image, properly written."""
    folder = small.folder / clean_images("fashion", "train")
    images, made_by = read_all_images(folder), images_provenance(folder)
    images.pixels[:, 0, 0, 0] ^= 1
    shutil.rmtree(folder)
    write_images(folder, images.split(12), made_by)


def change_names(small: Small, monkeypatch) -> None:
    """The class names the other way round."""
    path = small.folder / card_file("fashion")
    card = read_note(path)
    write_note(path, {**card, "class_names": card["class_names"][::-1]})


def change_prompts(small: Small, monkeypatch) -> None:
    """Other text features of one method, made with the same parameters."""
    path = small.folder / prompts_file("fashion", "all", "tune_bank", "advpt")
    prompts = load_prompts(path)
    save_prompts(path, replace(prompts, text_features=prompts.text_features[:, ::-1]))


def change_code(small: Small, monkeypatch) -> None:
    """Another line anywhere in the source."""
    monkeypatch.setattr(provenance, "code_digest", lambda: "other")


def change_version(small: Small, monkeypatch) -> None:
    """A library of another version."""
    monkeypatch.setattr(provenance, "version", lambda library: "99" if library == "pillow" else "1")


CHANGES = {
    "eps": (CRAFT, change_params(attack__eps=4)),
    "steps": (CRAFT, change_params(attack__steps=9)),
    "objective": (CRAFT, change_params(attack__objective="l2")),
    "precision": (CRAFT, change_params(model__precision="bf16")),
    "an image": (CRAFT, change_shard),
    "code": (CRAFT, change_code),
    "a library": (EMBED, change_version),
    "learning rate": (TUNE, change_params(tune__lr=0.02)),
    "class names": (TUNE, change_names),
    "prompts": (ADAPTIVE, change_prompts),
    "prompts that are assessed": (("assess", "fashion"), change_prompts),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_makes_everything_anew(small, monkeypatch, name):
    monkeypatch.setattr(assess, "ROWS", 2)  # the draw is small, and one shard leaves no pieces
    stage, change = CHANGES[name]
    interrupt(small, stage, monkeypatch)
    change(small, monkeypatch)
    assert "interrupted" not in small.run(*stage)


@pytest.mark.parametrize("stage", [CRAFT, EMBED, TUNE], ids="-".join)
def test_without_a_change_it_goes_on(small, monkeypatch, stage):
    interrupt(small, stage, monkeypatch)
    small.params["runtime"]["workers"] = 2
    small.write_params()
    assert "from an interrupted run" in small.run(*stage)


# words that the embedded model has learnt
KNOWN = ["ankle boot", "bag", "coat", "dress", "pullover", "sandal", "shirt", "sneaker", "t-shirt", "trouser"]


def write_own_images(small: Small) -> None:
    """A data set `mine`: a folder with 48 training and 12 test images."""
    images = read_all_images(small.folder / clean_images("fashion", "train"))
    for position, (label, pixels) in enumerate(zip(images.labels, images.pixels, strict=True)):
        split = "train" if position % 5 else "test"
        path = small.folder / raw_folder("mine") / f"{split}/{KNOWN[label]}/{position:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    small.params["datasets"] = ["mine"]
    small.params["data"] |= {"shots": "all", "test_images": "all"}
    small.write_params()


@pytest.mark.parametrize("count", [1, 2, 3], ids=["extract", "craft", "embed"])
def test_an_image_less_leaves_the_other_shards_as_they_are(small, monkeypatch, count):
    """A user finds a bad image while a stage is interrupted, and removes it from his folder."""
    *before, stage = [(name, "mine") for name in ("fetch", "extract", "craft", "embed")][: count + 1]
    write_own_images(small)
    for one in before:
        small.run(*one)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full_from(4))
        assert small.finish(*stage)[0] == 1
    monkeypatch.chdir(small.folder)
    first, *_ = read_index("mine").part("train").shards(5)
    (raw_folder("mine") / first.ids[-1]).unlink()
    for one in before:
        small.run(*one)
    said = small.run(*stage)
    assert re.search(r"n = 47, 3 of \d+ shards from an interrupted run", said), said
    made = small.digests()
    small.remove(*stage)
    assert "interrupted" not in small.run(*stage)
    assert small.digests() == made and small.temporary() == []
