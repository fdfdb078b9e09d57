"""What the stages compose: every attack goes up what it says, rows belong to their seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.adapt import OBJECTIVES as ADAPTIVE
from stages.adapt import adaptive_recipe, first_images
from stages.banks.bank import Bank
from stages.banks.images import write_images
from stages.craft import OBJECTIVES as OBLIVIOUS
from stages.craft import feature_recipe, transfer_recipe
from stages.crafting import craft_shard
from stages.embedding import embed_shard
from stages.judging import Study, accuracy_of, judged, read_study
from stages.models.device import to_tensor
from stages.params import load_params
from stages.prompts.classify import cosine_logits
from stages.prompts.context import handwritten
from stages.prompts.file import PromptFile, save_prompts
from stages.prompts.text import TextTower

CPU = torch.device("cpu")


def attacked(recipe, shard, attack):
    return craft_shard(recipe, shard, attack=attack, seed=0, device=CPU, runtime=load_params().runtime)


def noisy(shard, eps):
    """Random noise of the same size: what an attack has to beat."""
    signs = np.random.default_rng(1).choice([-eps, eps], shard.pixels.shape)
    return replace(shard, pixels=np.clip(shard.pixels.astype(int) + signs, 0, 255).astype(np.uint8))


@pytest.fixture
def prompts() -> PromptFile:
    features = torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(0))
    return PromptFile(F.normalize(features, dim=-1).numpy(), 10.0, ["a", "b", "c"], "{}", {})


@pytest.mark.parametrize("objective", OBLIVIOUS)
def test_the_feature_attack_moves_every_embedding_further_than_noise(clip, shard, objective):
    attack = load_params().oblivious["pgd_eps8"]
    recipe = feature_recipe(OBLIVIOUS[objective], clip)
    measure = OBLIVIOUS[objective](clip.encode_image, clip.encode_image(to_tensor(shard.pixels, CPU)))
    moved, random = (measure(to_tensor(s.pixels, CPU)) for s in (attacked(recipe, shard, attack), noisy(shard, 8)))
    assert (moved > random).all()


@pytest.mark.parametrize("objective", ADAPTIVE)
def test_the_adaptive_attack_goes_through_the_prompt_of_its_seed(clip, shard, prompts, objective):
    attack = load_params().adaptive["adaptive_eps4"]
    moved = attacked(adaptive_recipe(ADAPTIVE[objective], clip, prompts, 1, CPU), shard, attack)

    def losses(images, seed):
        features = clip.encode_image(to_tensor(images.pixels, CPU))
        logits = cosine_logits(features, torch.from_numpy(prompts.text_features[seed]), prompts.logit_scale)
        return F.cross_entropy(logits, torch.from_numpy(images.labels), reduction="none")

    assert (losses(moved, 1) > losses(noisy(shard, 4), 1)).all()
    assert (losses(moved, 1) - losses(shard, 1)).mean() > 2 * (losses(moved, 0) - losses(shard, 0)).mean()


def test_the_transfer_attack_fools_its_surrogate(shard, tmp_path):
    attack = load_params().oblivious["transfer_eps8"]
    attack = attack.model_copy(
        update={"surrogate": attack.surrogate.model_copy(update={"epochs": 40, "batch_size": 6})}
    )
    write_images(tmp_path / "train", [shard], {})
    recipe, knows = transfer_recipe(attack, tmp_path / "train", 0, CPU)
    again, _ = transfer_recipe(attack, tmp_path / "train", 0, CPU)
    assert knows["surrogate"]["train_accuracy"] > 0.8
    moved = attacked(recipe, shard, attack)
    assert np.array_equal(moved.pixels, attacked(again, shard, attack).pixels)

    def loss(images):
        labels = torch.from_numpy(images.labels)
        plain = attack.model_copy(update={"diversity": 0.0})
        objective, _ = transfer_recipe(plain, tmp_path / "train", 0, CPU)[0](None, labels, NoNoise())
        return objective(to_tensor(images.pixels, CPU)).mean()

    assert loss(moved) > 3 * loss(noisy(shard, 8))


class NoNoise:
    """Never transforms."""

    def uniform(self, shape, *, low=0.0, high=1.0):
        return torch.full((12, *shape), 0.5)


def test_no_stage_moves_a_weight_or_leaves_a_gradient(clip, shard, prompts):
    before = {name: weight.clone() for name, weight in clip.model.state_dict().items()}
    params = load_params()
    attacked(feature_recipe(OBLIVIOUS["kl"], clip), shard, params.attack)
    attacked(adaptive_recipe(ADAPTIVE["cross_entropy"], clip, prompts, 0, CPU), shard, params.adaptive["adaptive_eps4"])
    embed_shard(clip, shard, device=CPU, runtime=params.runtime)
    handwritten("a photo of a {}.", ["dress", "bag"], TextTower(clip.model, clip.tokenizer))
    assert all(torch.equal(weight, before[name]) for name, weight in clip.model.state_dict().items())
    assert all(parameter.grad is None for parameter in clip.model.parameters())


def test_steps_are_the_stated_share_of_eps(clip, shard):
    """One step of ratio 0.25 from a random start moves at most the start and a quarter of eps."""
    attack = load_params().oblivious["pgd_eps8"].model_copy(update={"steps": 1, "step_ratio": 0.25})
    still = attack.model_copy(update={"step_ratio": 1e-9})
    recipe = feature_recipe(OBLIVIOUS["kl"], clip)
    start, stepped = (attacked(recipe, shard, a).pixels.astype(int) for a in (still, attack))
    assert abs(stepped - start).max() in (2, 3)
    assert np.mean(abs(stepped - start)) > 1


def test_rows_are_those_of_the_seed(prompts):
    labels = np.arange(30) % 3
    embeddings = np.random.default_rng(0).normal(size=(30, 128)).astype(np.float32)
    bank = Bank([str(i) for i in range(30)], labels, embeddings)
    for seed in range(2):
        rows = judged(bank, Study("s", {"p": prompts}, np.arange(3)), threat="t", prompt="p", seed=seed)
        expected = (embeddings @ prompts.text_features[seed].T).argmax(1)
        assert rows["prediction"].to_pylist() == expected.tolist()
        assert set(rows["seed"].to_pylist()) == {seed} and set(rows["dataset"].to_pylist()) == {"s"}
        assert accuracy_of([rows]) == pytest.approx(np.mean(expected == labels))


def test_a_study_of_some_classes_judges_their_images_among_these_classes_alone(prompts, tmp_path, monkeypatch):
    """Hand-written prompts of a, b, c; tuned ones of b, c: images of a take no part, b is class 0."""
    monkeypatch.chdir(tmp_path)
    some = prompts.of_classes(np.array([1, 2]))
    for path, file in (("d/hand", prompts), ("d_new/coop", some), ("d_new/advpt", some)):
        (tmp_path / "data/prompts" / path).mkdir(parents=True)
        file = replace(file, provenance={"dataset": "d"})
        save_prompts(tmp_path / "data/prompts" / path / "prompts.safetensors", file)
    study = read_study("d", "d_new")
    labels = np.array([0, 1, 2, 1])
    assert study.takes_part(labels).tolist() == [False, True, True, True]
    assert study.relabel(labels[1:]).tolist() == [0, 1, 0]
    assert study.prompts["hand"].class_names == ["b", "c"]
    assert np.array_equal(study.prompts["hand"].text_features, prompts.text_features[:, 1:])
    with pytest.raises(ValueError, match="made with model"):
        read_study("d", "d_new", model="other")
    bank = Bank(["1", "2", "3"], np.array([0, 1, 0]), prompts.text_features[0, [1, 2, 1]])
    rows = judged(bank, study, threat="t", prompt="hand", seed=0)
    assert rows["prediction"].to_pylist() == [0, 1, 0] and min(rows["margin"].to_pylist()) > 0


def test_the_first_images_are_those_of_the_study_over_all_shards(shard, prompts, tmp_path):
    write_images(tmp_path / "images", [shard.take(np.arange(0, 5)), shard.take(np.arange(5, 12))], {})
    study = Study("s", {"p": prompts}, np.array([1, 2]))
    found = list(first_images(tmp_path / "images", study, 6))
    assert [id for part in found for id in part.ids] == [f"test/{index}" for index in (1, 2, 4, 5, 7, 8)]
    assert [label for part in found for label in part.labels.tolist()] == [0, 1, 0, 1, 0, 1]
    assert sum(map(len, first_images(tmp_path / "images", study, "all"))) == 8
    assert sum(map(len, first_images(tmp_path / "images", study, 9))) == 8  # there are no more
