"""Features or logits of stored images behind a defence or under an image prompt."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.crafting.batching import SMALLEST_BATCH, even_batches, over_batches
from stages.crafting.embedding import embed_shard
from stages.defences.victim import Victim
from stages.models.device import to_tensor
from stages.runtime.params import Runtime
from stages.storage.embeddings import Bank
from stages.storage.images import Images

VOTES = 5  # draws of a random defence that classify an image, by majority


def embed_through(victim: Victim, shard: Images, *, seed: int, device: torch.device, runtime: Runtime) -> Bank:
    """Embed a shard of stored images as a method sees them; where images have no features of their own, return logits.

    Args:
        victim: The method.
        shard: N images.
        seed: Of a random defence.
        device: Where to compute.
        runtime: Batch size and number of batches side by side; neither changes the result.
    """
    if not victim.has_features:
        return vote_through(victim, shard, seed=seed, device=device, runtime=runtime)

    def prepare(images: Tensor, ids: list[str]) -> Tensor:
        return victim.process(images)

    return embed_shard(victim, shard, device=device, runtime=runtime, prepare=prepare)


def vote_through(victim: Victim, shard: Images, *, seed: int, device: torch.device, runtime: Runtime) -> Bank:
    """Classify a shard; in place of embeddings the result has the logits (N, K) of `vote`. Arguments as above."""

    def classify(part: Images) -> np.ndarray:
        return vote(victim, to_tensor(part.pixels, device), part.ids, seed=seed).float().cpu().numpy()

    runtime = runtime.model_copy(update={"batch_size": max(runtime.batch_size, SMALLEST_BATCH)})
    return Bank(shard.ids, shard.labels, over_batches(classify, shard, even_batches(runtime, len(shard), device.type)))


@torch.no_grad()
def vote(victim: Victim, images: Tensor, ids: list[str], *, seed: int) -> Tensor:
    """Return the logits (N, K) of images, or the vote on them of several draws if the victim is random.

    A vote is the share of draws for each class, plus a thousandth of the mean probabilities, which decides between
    classes of as many votes.

    Args:
        victim: The method.
        images: (N, 3, H, W) in [0, 1].
        ids: Of the images: each has chance of its own.
        seed: Of a random defence.
    """
    if not victim.is_random:
        return victim(images)
    votes = []
    for draw in range(draws_of(victim)):
        logits = victim(images, ImageNoise(seed, [f"defence/{draw}/{id}" for id in ids]))
        votes.append(F.one_hot(logits.argmax(-1), logits.shape[1]) + logits.softmax(-1) / 1000)
    return torch.stack(votes).mean(0)


def draws_of(victim: Victim) -> int:
    """Return how many draws classify an image: several behind a random defence."""
    return VOTES if victim.is_random else 1
