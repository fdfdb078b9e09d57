"""Training of the embedded models on a few images: what moves, what stays, and that a restart changes nothing."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from PIL import Image

from stages.models.clip import load_clip, weights_digest
from tests.fashion import fashion

TINY = Path("data/embedded/tiny-clip")


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend("data/embedded")
    import training

    monkeypatch.setattr(training, "ATTACKED", 10)
    return training


@pytest.fixture
def recipes(training):
    import make

    return make.RECIPES


@pytest.fixture
def task(training):
    """180 images of Fashion-MNIST, measured on the first 60."""
    import make

    rows, _ = fashion("train", 180)
    images = training.Images(torch.from_numpy(rows.pixels).permute(0, 3, 1, 2), torch.tensor(rows.labels))
    held_out = training.Images(images.pixels[:60], images.labels[:60])
    preprocess = {"mean": [0.286] * 3, "std": [0.353] * 3}
    return training.Task(make.CLASS_NAMES, make.TEMPLATES, preprocess, 2, images, {"test": held_out})


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def differing(first, second):
    return {name for name in first if not torch.equal(first[name], second[name])}


def test_augmentation_flips_and_moves_with_the_border_repeated(training):
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    padded = np.pad(image[0, 0].numpy(), 1, mode="edge")
    possible = {window[:, ::direction].tobytes() for top in range(3) for left in range(3) for direction in (1, -1)
                for window in [padded[top:top + 4, left:left + 4]]}  # fmt: skip
    moved = training.augment(image.expand(500, 1, 4, 4), 1, torch.Generator().manual_seed(0))
    assert {each.numpy().tobytes() for each in moved[:, 0]} == possible
    assert len(possible) == 18


def test_images_are_resized_as_by_the_pipeline(training):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    found = (training.resized(images, 16)[0].permute(1, 2, 0) * 255).round().int().numpy()
    assert np.abs(found - expected).max() <= 1
    assert torch.equal(training.resized(images, 8), images / 255)


def test_images_of_a_balanced_choice_are_as_many_of_each_class(training):
    labels = torch.tensor([2, 0, 1, 1, 1, 0, 2, 0])
    assert training.balanced(labels, 6).tolist() == [1, 5, 2, 3, 0, 6]


def test_plain_training_lowers_the_loss_and_an_interruption_changes_nothing(
    training, task, recipes, tmp_path, monkeypatch, capsys
):
    recipe = dataclasses.replace(recipes["tiny-clip"], batch_size=60, epochs=3, max_lr=2e-3)
    captions = training.tokens_of(TINY, task)

    def fresh():
        torch.manual_seed(0)
        return training.model_of(TINY, load_weights=False)

    whole = fresh()
    training.train_plain(whole, recipe, task, captions, checkpoint=tmp_path / "whole.pt")
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < losses[0]

    class KilledError(Exception):
        pass

    def save_and_die(run, epochs):
        save(run, epochs)
        raise KilledError

    save = training.Run._save
    monkeypatch.setattr(training.Run, "_save", save_and_die)
    with pytest.raises(KilledError):
        training.train_plain(fresh(), recipe, task, captions, checkpoint=tmp_path / "cut.pt")
    monkeypatch.setattr(training.Run, "_save", save)
    resumed = fresh()
    training.train_plain(resumed, recipe, task, captions, checkpoint=tmp_path / "cut.pt")
    assert differing(weights(whole), weights(resumed)) == set()
    assert not (tmp_path / "cut.pt").exists()


@pytest.mark.parametrize("loss", ["fare", "tecoa"])
def test_robust_training_lowers_the_loss_of_attacked_images_and_moves_the_image_tower_alone(
    training, task, recipes, loss, tmp_path, capsys
):
    recipe = dataclasses.replace(recipes[f"tiny-{loss}"], batch_size=60, epochs=4, max_lr=2e-3)
    model = training.model_of(TINY)
    before = weights(model)
    training.train_robust(model, recipe, task, training.tokens_of(TINY, task)[0], checkpoint=tmp_path / "checkpoint.pt")
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < 0.9 * losses[0]
    moved = differing(before, weights(model))
    assert "visual.conv1.weight" in moved
    assert all(name.startswith("visual.") for name in moved)


def test_fare_needs_no_labels(training, task, recipes, tmp_path):
    recipe = dataclasses.replace(recipes["tiny-fare"], batch_size=60, epochs=1)
    results = []
    for labels in (task.training.labels, task.training.labels.flip(0)):
        model = training.model_of(TINY)
        other = dataclasses.replace(task, training=training.Images(task.training.pixels, labels))
        caption = training.tokens_of(TINY, task)[0]
        training.train_robust(model, recipe, other, caption, checkpoint=tmp_path / "checkpoint.pt")
        results.append(weights(model))
    assert differing(*results) == set()


def test_a_robust_model_is_a_folder_that_the_pipeline_loads(training, task, recipes, tmp_path, monkeypatch, capsys):
    (tmp_path / "data/embedded").mkdir(parents=True)
    monkeypatch.setattr(training, "HERE", tmp_path / "data/embedded")
    shutil.copytree(TINY, training.HERE / "tiny-clip")
    attacks = []

    def attack(logits, images, labels, **settings):
        attacks.append(settings)
        return torch.zeros_like(images)

    monkeypatch.setattr(training, "auto_attack", attack)
    training.make_models(
        {"tiny-tecoa": dataclasses.replace(recipes["tiny-tecoa"], batch_size=60, epochs=1)}, task, only_measure=False
    )
    printed = capsys.readouterr().out
    assert "tiny-tecoa: accuracy on 60 test images: 0." in printed
    assert re.search(
        r"tiny-tecoa: 10 test images: clean [01]\.\d+, AutoAttack at eps 4 0.100", printed
    )  # all one class
    assert attacks == [{"eps": 4 / 255, "version": "fast", "seed": 0}]
    folder = training.HERE / "tiny-tecoa"
    config = json.loads((folder / "open_clip_config.json").read_text())
    merges = config["model_cfg"]["text_cfg"]["tokenizer_kwargs"]["bpe_path"]
    assert merges == "data/embedded/tiny-tecoa/bpe_merges.txt.gz"
    monkeypatch.chdir(tmp_path)
    digest = weights_digest(f"local-dir:{folder}", None)
    clip = load_clip(f"local-dir:{folder}", pretrained=None, sha256=digest, device=torch.device("cpu"))
    features = clip.encode_image(training.resized(task.training.pixels, 32))
    assert features.std().item() == pytest.approx(0.45, abs=0.01)


def test_a_vision_transformer_starts_with_attention_to_near_patches(training):
    model = CLIP(
        128,
        {"image_size": 32, "patch_size": 8, "layers": 1, "width": 64, "head_width": 32},
        {"context_length": 8, "width": 32, "heads": 1, "layers": 1, "vocab_size": 10},
    )
    torch.manual_seed(0)
    training.start_as_convolution(model.visual)
    places = model.visual.positional_embedding[1:].detach()
    likeness = (places @ places.T).view(4, 4, 4, 4)
    assert likeness[1, 1].argmax() == 5  # itself
    assert likeness[1, 1, 1, 2] == pytest.approx(likeness[1, 1, 2, 1].item())
    assert likeness[1, 1, 1, 2] > likeness[1, 1, 1, 3]
    attention = model.visual.transformer.resblocks[0].attn
    query, key, value = attention.in_proj_weight.chunk(3)
    assert (query[:32].T @ key[:32]).diag().mean() > 0.2
    assert (attention.out_proj.weight @ value).diag().mean().item() == pytest.approx(-0.4, abs=0.05)
