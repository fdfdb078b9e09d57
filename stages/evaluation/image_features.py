"""Features or logits of stored images behind a defence or under an image prompt."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from stages.attacks.noise import ImageNoise
from stages.crafting.batching import SMALLEST_BATCH, even_batches, over_batches
from stages.crafting.embedding import embed_shard
from stages.defences.victim import Victim
from stages.models.device import to_tensor
from stages.runtime.params import Runtime
from stages.storage.embeddings import Bank
from stages.storage.images import Images

VOTES = 5  # draws of a random test-time defence that classify an image, by majority


def embed_through(victim: Victim, shard: Images, *, seed: int, device: torch.device, runtime: Runtime) -> Bank:
    """Embed a shard of stored images as a method sees them; a test-time defence, which has no features, gives logits.

    Args:
        victim: The method.
        shard: N images.
        seed: Of a random defence.
        device: Where to compute.
        runtime: Batch size and number of batches side by side; neither changes the result.
    """
    if victim.test_time:
        return vote_through(victim, shard, seed=seed, device=device, runtime=runtime)
    prepare = partial(victim.defence.of_ids, seed=seed) if victim.defence else None
    return embed_shard(victim, shard, device=device, runtime=runtime, prepare=prepare)


def vote_through(victim: Victim, shard: Images, *, seed: int, device: torch.device, runtime: Runtime) -> Bank:
    """Classify a shard behind a test-time defence.

    Returns:
        In place of embeddings logits (N, K); of a random defence the share of draws that vote for each class, plus a
        thousandth of the mean probabilities, which decides between classes of as many votes.
    """
    draws = draws_of(victim)

    def classify(part: Images) -> np.ndarray:
        images, votes = to_tensor(part.pixels, device), []
        for draw in range(draws):
            with torch.no_grad():
                logits = victim(images, ImageNoise(seed, [f"defence/{draw}/{id}" for id in part.ids]))
            votes.append(F.one_hot(logits.argmax(-1), logits.shape[1]) + logits.softmax(-1) / 1000)
        return (torch.stack(votes).mean(0) if victim.is_random else logits).float().cpu().numpy()

    runtime = runtime.model_copy(update={"batch_size": max(runtime.batch_size, SMALLEST_BATCH)})
    return Bank(shard.ids, shard.labels, over_batches(classify, shard, even_batches(runtime, len(shard), device.type)))


def draws_of(victim: Victim) -> int:
    """Return how many draws classify an image: several behind a random test-time defence."""
    return VOTES if victim.test_time and victim.is_random else 1
