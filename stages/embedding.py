"""Stored images -> raw image features, batch by batch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stages.banks.bank import Bank
from stages.banks.images import Images
from stages.batches import over_batches
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.params import Runtime

Prepare = Callable[[Tensor, list[str]], Tensor]


def embed_shard(
    clip: Clip, shard: Images, *, device: torch.device, runtime: Runtime, prepare: Prepare | None = None
) -> Bank:
    """Embeds a shard of stored images.

    Args:
        clip: Whose image tower.
        shard: N images.
        device: Where to compute.
        runtime: How many images at a time, and how many batches side by side; neither changes the result.
        prepare: What the images (n, C, H, W) of some ids go through before they are encoded; None for nothing.

    Returns:
        N raw features (N, D), float32, with the ids and labels of the images.
    """

    @torch.inference_mode()
    def embed_batch(part: Images) -> np.ndarray:
        images = to_tensor(part.pixels, device)
        if prepare:
            images = prepare(images, part.ids)
        return clip.encode_image(images).float().cpu().numpy()

    batching = runtime.batching(len(shard), device.type)
    return Bank(shard.ids, shard.labels, over_batches(embed_batch, shard, batching))
