"""A round of the refreshed bank: who is attacked with which eps, through which prompt, and what is embedded."""

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

from stages.crafting.embedding import embed_shard
from stages.crafting.refresh import RefreshWorker, eps_of
from stages.models.logits import cosine_logits
from stages.refresh import shards_showing
from stages.runtime.params import load_params
from stages.storage.embeddings import Bank, read_bank, round_table
from stages.storage.images import write_images
from stages.storage.parquet import read_table, write_table

CPU = torch.device("cpu")
IDS = [f"train/{index}" for index in range(300)]


@pytest.fixture
def text_features() -> torch.Tensor:
    return F.normalize(torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(0)), dim=-1)


RUNTIME = load_params().runtime.model_copy(update={"batch_size": 64, "workers": 1})


def attacked(clip, shard, text_features, *, round_index=0, **changed):
    """The bank of one round through one prompt, and the eps of each image."""
    params = load_params().model_copy(update={"runtime": RUNTIME})
    settings = params.methods.refresh["advpt_refreshed"].model_copy(update=changed)

    def logits_of(images):
        return cosine_logits(clip.encode_image(images), text_features, clip.logit_scale)

    return RefreshWorker(params, settings, range(3), clip).embedded(shard, logits_of, round_index=round_index)


def losses(features: np.ndarray, text_features: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    logits = 10 * F.normalize(torch.from_numpy(features), dim=-1) @ text_features.T
    return F.cross_entropy(logits, torch.from_numpy(labels), reduction="none")


def test_each_image_meets_every_eps_before_it_meets_one_again():
    by_turn = np.stack([eps_of(IDS, [1, 2, 4], round_index=round_index, seed=0) for round_index in range(4)])
    assert (np.sort(by_turn[:3], axis=0) == [[1], [2], [4]]).all() and (by_turn[3] == by_turn[0]).all()
    counts = np.unique(by_turn[0], return_counts=True)[1]
    assert counts.min() > 70  # of 300; the first one is drawn


def test_the_eps_of_an_image_does_not_depend_on_the_others():
    assert (eps_of(IDS[::-1], [1, 2], round_index=1, seed=0)[::-1] == eps_of(IDS, [1, 2], round_index=1, seed=0)).all()
    assert (eps_of(IDS, [1, 2], round_index=1, seed=1) != eps_of(IDS, [1, 2], round_index=1, seed=0)).any()


@pytest.mark.parametrize("objective", ["cross_entropy", "margin"])
def test_the_attack_goes_through_its_prompt(clip, shard, text_features, objective):
    """What is embedded is worse for the prompt that was attacked, and less so for another one."""
    clean = embed_shard(clip, shard, device=CPU, runtime=RUNTIME).embeddings
    bank, eps = attacked(clip, shard, text_features[0], objective=objective, eps=[4.0])
    assert (eps == 4).all() and bank.ids == shard.ids and (bank.labels == shard.labels).all()
    rises = [
        losses(bank.embeddings, through, shard.labels) - losses(clean, through, shard.labels)
        for through in text_features
    ]
    assert rises[0].mean() > 0 and rises[0].mean() > 2 * rises[1].mean()


def test_without_eps_nothing_moves(clip, shard, text_features):
    clean = embed_shard(clip, shard, device=CPU, runtime=RUNTIME)
    bank, _ = attacked(clip, shard, text_features[0], eps=[0.0])
    assert np.array_equal(bank.embeddings, clean.embeddings)


def test_every_image_stays_in_its_own_ball(clip, shard, text_features, monkeypatch):
    """Each as far from the clean one as its eps allows, and no further, in the 8 bits that are embedded."""
    seen = []
    real = embed_shard
    monkeypatch.setattr(
        "stages.crafting.refresh.embed_shard",
        lambda clip, images, **how: seen.append(images) or real(clip, images, **how),
    )
    _, eps = attacked(clip, shard, text_features[0], eps=[1.0, 4.0])
    moved = np.abs(seen[0].pixels.astype(int) - shard.pixels).max(axis=(1, 2, 3))
    assert set(eps) == {1, 4} and (moved == eps).all()


def test_another_turn_begins_elsewhere(clip, shard, text_features):
    one, other = (
        attacked(clip, shard, text_features[0], eps=[4.0], round_index=round_index)[0] for round_index in (0, 1)
    )
    assert not np.array_equal(one.embeddings, other.embeddings)


def test_the_table_of_a_round_is_a_bank_with_round_seed_and_eps(tmp_path):
    bank = Bank(["a", "b"], np.array([1, 0]), np.eye(2, dtype=np.float32))
    table = round_table(bank, round_index=3, seed=-1, eps=np.array([1.0, 4.0]))
    write_table(tmp_path / "bank.parquet", [table], {})
    back, _ = read_table(tmp_path / "bank.parquet")
    assert back.column("round").to_pylist() == [3, 3] and back.column("seed").to_pylist() == [-1, -1]
    assert back.column("eps").to_pylist() == [1.0, 4.0] and back.schema.field("round").type == pa.int64()
    read, _ = read_bank(tmp_path / "bank.parquet")
    assert read.ids == bank.ids and np.array_equal(read.embeddings, bank.embeddings)


def test_shards_without_a_class_that_takes_part_are_left_out(shard, tmp_path):
    by_label = shard.take(np.argsort(shard.labels, kind="stable"))  # four images of each of three classes
    write_images(tmp_path, by_label.split(6), {})
    assert shards_showing(range(1), tmp_path, by_label.ids[:4]) == [0, 1]
    assert shards_showing(range(1, 3), tmp_path, by_label.ids[4:]) == [2, 3, 4, 5]
    with pytest.raises(ValueError, match="not the images of the clean embeddings"):
        shards_showing(range(3), tmp_path, shard.ids[::-1])
