"""Image features of a method, which differ from those of the plain model behind a defence or under an image prompt."""

from functools import partial

import torch

from stages.crafting.embedding import embed_shard
from stages.defences.victim import Victim
from stages.runtime.params import Runtime
from stages.storage.embeddings import Bank
from stages.storage.images import Images


def embed_through(victim: Victim, shard: Images, *, seed: int, device: torch.device, runtime: Runtime) -> Bank:
    """Embed a shard of stored images as a method sees them.

    Args:
        victim: The method.
        shard: N images.
        seed: Of a random defence.
        device: Where to compute.
        runtime: Batch size and number of batches side by side; neither changes the result.
    """
    prepare = partial(victim.defence.of_ids, seed=seed) if victim.defence else None
    return embed_shard(victim, shard, device=device, runtime=runtime, prepare=prepare)
