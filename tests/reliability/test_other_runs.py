"""Pieces of an interrupted run are gone on with only if nothing has changed that decides about them."""

import shutil

import pytest

from stages.storage import files, provenance
from stages.storage.images import images_provenance, read_all_images, write_images
from stages.storage.notes import read_note, write_note
from tests.reliability.small import Small, outs_of
from tests.reliability.test_full_disk import full_from

CRAFT, EMBED, TUNE = ("craft", "fashion"), ("embed", "fashion"), ("tune", "fashion", "coop")


def interrupt(small: Small, stage: tuple[str, ...], monkeypatch) -> None:
    """Leaves the pieces of a run that found the disk full."""
    out = small.folder / "data" / outs_of(*stage)[0]
    shutil.rmtree(out) if out.is_dir() else out.unlink()
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
    """Another pixel in one of the clean images, properly sealed."""
    folder = small.folder / "data/clean/fashion/train/images"
    images = read_all_images(folder)
    about = {key: value for key, value in images_provenance(folder).items() if key not in ("shard", "shape")}
    images.pixels[-1, 0, 0, 0] ^= 1
    shutil.rmtree(folder)
    write_images(folder, images.split(12), about)


def change_names(small: Small, monkeypatch) -> None:
    """The class names the other way round."""
    path = small.folder / "data/cards/fashion.json"
    card = read_note(path)
    write_note(path, {**card, "class_names": card["class_names"][::-1]})


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
}


@pytest.mark.parametrize("name", CHANGES)
def test_49_a_change_makes_everything_anew(small, monkeypatch, name):
    stage, change = CHANGES[name]
    interrupt(small, stage, monkeypatch)
    change(small, monkeypatch)
    assert "interrupted" not in small.run(*stage)


@pytest.mark.parametrize("stage", [CRAFT, EMBED, TUNE], ids="-".join)
def test_49_without_a_change_it_goes_on(small, monkeypatch, stage):
    interrupt(small, stage, monkeypatch)
    small.params["runtime"]["workers"] = 2
    small.write_params()
    assert "from an interrupted run" in small.run(*stage)
