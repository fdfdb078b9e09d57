"""Stored images -> raw image features, batch by batch."""

import numpy as np
import torch

from stages.banks.bank import Bank
from stages.banks.images import Images
from stages.batches import over_batches
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.params import Runtime


def embed_shard(clip: Clip, shard: Images, *, device: torch.device, runtime: Runtime) -> Bank:
    """Embeds a shard of stored images: N images -> N raw features (N, D), float32."""

    @torch.inference_mode()
    def embed_batch(part: Images) -> np.ndarray:
        return clip.encode_image(to_tensor(part.pixels, device)).float().cpu().numpy()

    return Bank(shard.ids, shard.labels, over_batches(embed_batch, shard, device=device, runtime=runtime))
