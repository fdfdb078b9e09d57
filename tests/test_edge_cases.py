"""Bad inputs that belong to no single room."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.attacks.noise import ImageNoise
from stages.crafting.adaptive import adaptive_attack
from stages.crafting.feature import feature_attack
from stages.datasets.catalogue import CATALOGUE, source_of
from stages.models.context import handwritten
from stages.models.device import to_tensor
from stages.models.text_tower import TextTower
from stages.runtime.params import AutoAttack, PromptPgd, Square, Suite, load_params
from tests.victims import CPU, Toy, attacked, labelled, predicted, random_victim

SHARED = {"eps": 4, "images": 12, "tuning_seeds": 1, "batch_size": 12}
SHORT = {"eps": 4, "images": 12, "tuning_seeds": 1, "steps": 4, "restarts": 2}
ADAPTIVE = {
    "pgd": PromptPgd(method="pgd", objective="margin", step_ratio=2.5, **SHORT),
    "suite": Suite(method="suite", targets=2, queries=20, **SHORT),
    "fast": AutoAttack(method="autoattack", version="fast", **SHARED),
    "standard": AutoAttack(method="autoattack", version="standard", **SHARED),
    "square": Square(method="square", queries=20, **SHARED),
}


@pytest.fixture
def victim(clip):
    return random_victim(clip)


def floats(attack, shard):
    """What an attack returns, before it is stored, and the clean images."""
    images = to_tensor(shard.pixels, CPU)
    return attack(images, torch.tensor(shard.labels), ImageNoise(0, shard.ids)), images


@pytest.mark.parametrize("name", ["pgd", "suite", "fast", "square"])
def test_at_eps_zero_adversarial_equals_clean_exactly(shard, victim, name):
    shard = labelled(victim, shard).take(slice(0, 2))
    attack = adaptive_attack(ADAPTIVE[name].model_copy(update={"eps": 0.0}), victim, seed=0)
    assert torch.equal(*floats(attack, shard))
    assert np.array_equal(attacked(attack, shard, 0).pixels, shard.pixels)


@pytest.mark.parametrize("objective", ["kl", "cosine", "l2"])
def test_at_eps_zero_the_bank_is_the_clean_images(shard, clip, objective):
    settings = load_params().attack.model_copy(update={"eps": 0.0, "objective": objective})
    assert torch.equal(*floats(feature_attack(settings, clip.gradient_encoder()), shard))


def test_an_unknown_data_set_shows_the_catalogue(tmp_path):
    with pytest.raises(ValueError, match=r"datasets: no data set called 'fashoin' and no folder") as caught:
        source_of("fashoin", tmp_path / "fashoin", held_out=0.2)
    assert all(name in str(caught.value) for name in CATALOGUE)


def test_a_template_that_is_too_long_names_the_class(clip):
    tower = TextTower(clip.model, clip.tokenizer)
    message = r"class 'ankle boot': the words make 33 tokens; the text tower takes 32"
    with pytest.raises(ValueError, match=message):
        handwritten("a " * 29 + "{}", ["bag", "ankle_boot"], tower)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_where_every_clean_prediction_is_wrong_the_attack_is_skipped(shard, victim, name):
    """No gradient is asked for, and no model sees anything but clean images."""
    seen = []

    def watched(images):
        seen.append((torch.is_grad_enabled(), images.clone()))
        return victim(images)

    shard = replace(shard, labels=(predicted(victim, shard) + 1) % 3)
    moved = attacked(adaptive_attack(ADAPTIVE[name], Toy(watched), seed=0), shard, 4)
    assert np.array_equal(moved.pixels, shard.pixels)
    clean = {image.numpy().tobytes() for image in to_tensor(shard.pixels, CPU)}
    assert seen and not any(gradient for gradient, _ in seen)
    assert {image.numpy().tobytes() for _, images in seen for image in images} == clean
