"""What the stages compose: every attack goes up what it says, rows belong to their seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.attacks.objectives import cross_entropy
from stages.crafting.embedding import embed_shard
from stages.crafting.feature import OBJECTIVES as OBLIVIOUS
from stages.crafting.feature import feature_attack
from stages.crafting.transfer import fit_to, surrogate_accuracy, transfer_attack
from stages.evaluation.study import accuracy_of, predictions_table
from stages.models.device import to_tensor
from stages.runtime.params import FeaturePgd, Reverse, load_params
from stages.storage.embeddings import Bank
from stages.storage.images import Images, write_images
from stages.storage.prompts import PromptFile
from tests.victims import CPU, attacked, noisy

LABEL_FREE = FeaturePgd(method="feature_pgd", objective="kl", eps=8, steps=5, step_ratio=2.5)


@pytest.mark.parametrize("objective", OBLIVIOUS)
def test_the_feature_attack_moves_every_embedding_further_than_noise(clip, shard, objective):
    settings = load_params().oblivious["pgd_eps8"].model_copy(update={"objective": objective})
    measure = OBLIVIOUS[objective](clip.encode_image, clip.encode_image(to_tensor(shard.pixels, CPU)))
    moved = attacked(feature_attack(settings, clip.gradient_encoder()), shard, 8)
    moved, random = (measure(to_tensor(images.pixels, CPU)) for images in (moved, noisy(shard, 8)))
    assert (moved > random).all()


@pytest.fixture
def transfer(shard, tmp_path):
    """A small transfer attack's block, and where its training images lie."""
    settings = load_params().oblivious["transfer_eps8"]
    surrogate = settings.surrogate.model_copy(update={"epochs": 40, "batch_size": 6})
    write_images(tmp_path / "train", [shard], {})
    return settings.model_copy(update={"surrogate": surrogate}), tmp_path / "train"


def test_the_transfer_attack_fools_its_surrogate(shard, transfer, tmp_path):
    settings, train = transfer
    network, about = fit_to(settings.surrogate, train, 0, CPU)
    again, _ = fit_to(settings.surrogate, train, 0, CPU)
    assert about["train_accuracy"] > 0.8
    moved = attacked(transfer_attack(settings, network), shard, 8)
    assert np.array_equal(moved.pixels, attacked(transfer_attack(settings, again), shard, 8).pixels)

    def loss(images):
        return cross_entropy(network, torch.from_numpy(images.labels))(to_tensor(images.pixels, CPU)).mean()

    assert loss(moved) > 3 * loss(noisy(shard, 8))
    write_images(tmp_path / "moved", [moved], {})
    found = surrogate_accuracy(network, train, tmp_path / "moved", 5, CPU)
    right = network(to_tensor(moved.pixels, CPU)).argmax(-1).numpy() == moved.labels
    assert found["clean_accuracy"] == about["train_accuracy"] == 1
    assert found["robust_accuracy"] == pytest.approx(right.mean(), abs=1e-4) and not right.all()


def test_options_of_the_transfer_attack_change_it(shard, transfer):
    """RAP, translation invariance, the max-logit loss: each is at work, and RAP of radius 0 is none."""
    settings, train = transfer
    network, _ = fit_to(settings.surrogate, train, 0, CPU)
    options = {
        "plain": {},
        "rap": {"reverse": Reverse(eps=16, steps=2, from_step=5)},
        "late": {"reverse": Reverse(eps=16, steps=2, from_step=20)},
        "radius 0": {"reverse": Reverse(eps=0, steps=2, from_step=5)},
        "translation": {"translation": 5},
        "logit": {"objective": "max_logit"},
    }
    pixels = {
        name: attacked(transfer_attack(settings.model_copy(update=update), network), shard, 8).pixels
        for name, update in options.items()
    }
    same = [name for name in options if np.array_equal(pixels[name], pixels["plain"])]
    assert same == ["plain", "late", "radius 0"]


def test_steps_are_the_stated_share_of_eps(clip, shard):
    """One step of ratio 0.25 from a random start moves at most the start and a quarter of eps."""
    settings = LABEL_FREE.model_copy(update={"steps": 1, "step_ratio": 0.25})
    still = settings.model_copy(update={"step_ratio": 1e-9})
    start, stepped = (
        attacked(feature_attack(s, clip.gradient_encoder()), shard, 8).pixels.astype(int) for s in (still, settings)
    )
    assert abs(stepped - start).max() in (2, 3)
    assert np.mean(abs(stepped - start)) > 1


def farthest(clip, shard, settings):
    """What the feature attack reaches of its own objective, image by image, on what is stored."""
    clean = clip.encode_image(to_tensor(shard.pixels, CPU))
    moved = attacked(feature_attack(settings, clip.gradient_encoder()), shard, 8)
    return OBLIVIOUS["kl"](clip.encode_image, clean)(to_tensor(moved.pixels, CPU)), moved.pixels


def test_more_starts_of_the_feature_attack_get_farther(clip, shard):
    one, _ = farthest(clip, shard, LABEL_FREE)
    four, _ = farthest(clip, shard, LABEL_FREE.model_copy(update={"restarts": 4}))
    assert (four >= one).all() and (four > one).any()


def test_labels_do_not_choose_among_starts(clip, shard):
    settings = LABEL_FREE.model_copy(update={"restarts": 3})
    _, pixels = farthest(clip, shard, settings)
    _, again = farthest(clip, replace(shard, labels=shard.labels[::-1].copy()), settings)
    assert np.array_equal(pixels, again)


@pytest.mark.parametrize(("start", "low", "high"), [("uniform", -8, 8), ("one_sided", 0, 8), ("small", -0.08, 0.08)])
def test_a_start_fills_its_part_of_the_ball_and_is_not_clipped(clip, shard, start, low, high):
    """On black images: the first gradient is taken at pixels below 0, the result lies in [0, 1]."""
    seen = []

    def encode(images):
        seen.append(images.detach())
        return clip.encode_image(images)

    black = replace(shard, pixels=np.zeros_like(shard.pixels))
    moved = attacked(feature_attack(LABEL_FREE.model_copy(update={"start": start}), encode), black, 8)
    begun = 255 * torch.cat([images for images in seen if images.any()])[: len(shard)]
    assert begun.min() == pytest.approx(low, abs=high / 80) and begun.max() == pytest.approx(high, rel=0.0125)
    assert moved.pixels.max() <= 8


def test_rows_are_those_of_the_seed():
    text_features = F.normalize(torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(0)), dim=-1)
    prompts = PromptFile(text_features.numpy(), 10.0, ["a", "b", "c"], "{}", {})
    labels = np.arange(30) % 3
    embeddings = np.random.default_rng(0).normal(size=(30, 128)).astype(np.float32)
    bank = Bank([str(i) for i in range(30)], labels, embeddings)
    for seed in range(2):
        rows = predictions_table(bank, prompts, title="s", threat="t", method="p", seed=seed)
        expected = (embeddings @ prompts.text_features[seed].T).argmax(1)
        assert rows["prediction"].to_pylist() == expected.tolist()
        assert set(rows["seed"].to_pylist()) == {seed} and set(rows["dataset"].to_pylist()) == {"s"}
        assert accuracy_of([rows]) == pytest.approx(np.mean(expected == labels))


@pytest.mark.parametrize("count", [1, 3, 31])
def test_an_image_is_embedded_alike_with_however_few_beside_it(clip, count):
    """Copies fill a small batch up, for small matrix products take other kernels; not beyond `runtime.batch_size`."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, clip.image_size, clip.image_size, 3), np.uint8)
    images = Images([str(at) for at in range(64)], np.zeros(64, int), pixels)
    runtime = load_params().runtime
    whole = embed_shard(clip, images, device=CPU, runtime=runtime)
    part = embed_shard(clip, images.take(slice(5, 5 + count)), device=CPU, runtime=runtime)
    expected = clip.encode_image(to_tensor(pixels, CPU)).numpy()
    np.testing.assert_allclose(whole.embeddings, expected, rtol=1e-5, atol=1e-5)
    assert part.ids == whole.ids[5 : 5 + count]
    assert part.embeddings.tobytes() == whole.embeddings[5 : 5 + count].tobytes()
