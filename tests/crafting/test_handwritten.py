"""The oblivious attack on the hand-written prompt: through its logits, with the labels, and without a method."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.crafting.feature import feature_attack
from stages.crafting.handwritten import HandwrittenAttackWorker
from stages.entries.drawn import draw, facts_of
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.runtime.params import FeaturePgd, HandwrittenPgd, load_params
from stages.storage.card import Card
from stages.storage.images import Images, read_shard
from stages.storage.parquet import checksum_of
from stages.storage.prompts import load_prompts
from tests.imports import ROOT
from tests.victims import CPU, attacked

KEYS = {"eps": 4, "steps": 10, "step_ratio": 2.5}
SETTINGS = HandwrittenPgd(method="handwritten_pgd", objective="cross_entropy", **KEYS)


@pytest.fixture(scope="module")
def some() -> Images:
    """40 test images of Fashion-MNIST."""
    return draw("fashion", "all", 40, seed=0)


def crafted(shard: Images, folder: Path, settings: HandwrittenPgd = SETTINGS) -> Images:
    """What the worker makes of a shard."""
    class_names, template, sha256 = facts_of("fashion")
    facts = {"origin": "o", "licence": "l", "splits": "s", "packed": False, "notes": []}
    card = Card(name="fashion", class_names=class_names, template=template, sha256=sha256, **facts)
    HandwrittenAttackWorker(load_params(), settings, card, 32).attack(folder / "shard.parquet", 0, shard)
    return read_shard(folder / "shard.parquet", checksum_of(folder / "shard.parquet"))


def losses(clip: Clip, images: Images, labels: np.ndarray) -> Tensor:
    """Cross-entropies (N,) of the hand-written prompt that the pipeline wrote."""
    prompts = load_prompts(ROOT / "entries/fashion-tiny-clip-zero_shot/prompts.safetensors")
    with torch.no_grad():
        features = F.normalize(clip.encode_image(to_tensor(images.pixels, CPU)), dim=-1)
    logits = prompts.logit_scale * features @ torch.from_numpy(prompts.text_features[0]).T
    return F.cross_entropy(logits, torch.from_numpy(labels), reduction="none")


def test_it_raises_the_loss_of_the_hand_written_prompt_further_than_an_attack_without_labels(clip, some, tmp_path):
    label_free = FeaturePgd(method="feature_pgd", objective="kl", **KEYS)
    without = attacked(feature_attack(label_free, clip.gradient_encoder()), some, 4)
    clean, blind, moved = (losses(clip, images, some.labels) for images in (some, without, crafted(some, tmp_path)))
    assert (moved > clean).all() and moved.mean() > 1.2 * blind.mean() > 2 * clean.mean()


def test_it_goes_away_from_the_labels_that_it_is_given(clip, some, tmp_path):
    others = (some.labels + 1) % 10
    moved = crafted(replace(some, labels=others), tmp_path)
    assert losses(clip, moved, others).mean() > 2 * losses(clip, moved, some.labels).mean()


@pytest.mark.parametrize("objective", ["cross_entropy", "margin"])
def test_of_several_starts_the_one_with_the_largest_objective_is_kept(clip, some, tmp_path, objective):
    one, three = (
        losses(clip, crafted(some, tmp_path, SETTINGS.model_copy(update=update)), some.labels)
        for update in ({"objective": objective}, {"objective": objective, "restarts": 3})
    )
    assert three.mean() > one.mean()
    if objective == "cross_entropy":
        assert (three >= one - 1e-5).all()
