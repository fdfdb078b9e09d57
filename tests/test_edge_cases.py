"""Bad inputs that belong to no single room."""

from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
import torch

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.crafting.adaptive import adaptive_attack
from stages.crafting.batching import Batching
from stages.crafting.feature import feature_attack
from stages.crafting.shards import craft_shard
from stages.datasets.card import Card
from stages.datasets.catalogue import CATALOGUE, source_of
from stages.datasets.checks import few_classes
from stages.models.device import to_tensor
from stages.prompts.context import handwritten
from stages.prompts.text import TextTower
from stages.report.facts import facts_table
from stages.report.tables import confusion_table, results_of
from stages.report.vocabulary import CLEAN, Method, Threat
from stages.runtime.params import AutoAttack, Square, load_params
from stages.storage.images import read_all_images, write_images
from stages.storage.notes import read_note, write_note
from tests.imports import ROOT
from tests.victims import Toy, random_victim

CPU = torch.device("cpu")
NAMES = ["Übung 猫", 'quo"ted, twice', "it's", "under_score", "<script>", "two  spaces"]
SHARED = {"eps": 4, "images": 12, "tuning_seeds": 1, "batch_size": 12}
ADAPTIVE = {
    **{
        objective: load_params(ROOT / "params.yaml")
        .adaptive["adaptive_eps4"]
        .model_copy(update={"objective": objective, "restarts": 2, "steps": 4})
        for objective in ("cross_entropy", "margin", "dlr")
    },
    "fast": AutoAttack(method="autoattack", version="fast", **SHARED),
    "standard": AutoAttack(method="autoattack", version="standard", **SHARED),
    "square": Square(method="square", queries=20, **SHARED),
}


@pytest.fixture
def victim(clip):
    return random_victim(clip)


def attacked(attack, shard, eps):
    return craft_shard(attack, shard, ball=LinfBall(eps / 255), seed=0, device=CPU, batching=Batching(1, 1))


def predicted(logits_of, shard):
    with torch.no_grad():
        return logits_of(to_tensor(shard.pixels, CPU)).argmax(-1).numpy()


def floats(attack, shard):
    """What an attack returns, before it is stored, and the clean images."""
    images = to_tensor(shard.pixels, CPU)
    return attack(images, torch.tensor(shard.labels), ImageNoise(0, shard.ids)), images


@pytest.mark.parametrize("name", ["cross_entropy", "margin", "fast", "square"])
def test_at_eps_zero_adversarial_equals_clean_exactly(shard, victim, name):
    shard = replace(shard, labels=predicted(victim, shard)).take(slice(0, 2))
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


def test_the_report_says_what_few_classes_leave_out():
    card = Card(
        name="d", class_names=NAMES[:3], template="{}", sha256="", origin="", licence="", splits="", packed=False,
        notes=few_classes(3),
    )  # fmt: skip
    ((_, facts),) = facts_table("Data sets", {"d": card.model_dump()}).rows
    assert "3 classes: attacks on the targeted DLR loss need 4" in facts


def test_class_names_come_back_from_parquet_json_and_csv(tmp_path, shard):
    ids = [f"train/{name}/{index}.png" for index in range(2) for name in NAMES]
    write_images(tmp_path / "images", [replace(shard, ids=ids)], {"class_names": NAMES})
    assert read_all_images(tmp_path / "images").ids == ids
    write_note(tmp_path / "note.json", {"class_names": NAMES})
    assert read_note(tmp_path / "note.json") == {"class_names": NAMES}
    lines = [("d", "clean", "zero_shot", 0, label, 0) for label in range(len(NAMES))]
    rows = pd.DataFrame(lines, columns=["dataset", "threat", "method", "seed", "label", "prediction"])
    confusion_table(rows, NAMES).to_csv(tmp_path / "confusion.csv", index=False, lineterminator="\n")
    assert list(map(unescape, pd.read_csv(tmp_path / "confusion.csv")["actual"])) == NAMES


def test_underscores_become_spaces_in_prompts(clip):
    tower = TextTower(clip.model, clip.tokenizer)
    written, spoken = (handwritten("a photo of a {}.", [name, "bag"], tower) for name in ("ankle_boot", "ankle boot"))
    assert torch.equal(written, spoken)


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


def test_where_every_clean_prediction_is_wrong_robust_accuracy_is_0():
    """Even if an attack happens to make all of them right."""
    methods = [Method("zero_shot", "hand-written", None, "zero_shot"), Method("advpt", "AdvPT", None, "tune_bank")]
    lines = [(method.name, 0, str(index), 0) for method in methods for index in range(5)]
    rows = pd.DataFrame(lines, columns=["method", "seed", "id", "label"]).assign(dataset="d")
    clean = rows.assign(threat="clean", prediction=1, correct=False)
    pgd = rows.assign(threat="pgd", prediction=0, correct=True)
    threats = [CLEAN, Threat("pgd", "adaptive", {"method": "pgd", "eps": 4})]
    results = results_of("d", {"clean": clean, "pgd": pgd}, methods, threats)
    assert [(line.accuracy, line.n) for line in results.lines.values()] == [(0.0, 5)] * 4
