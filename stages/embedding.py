"""Stored images -> raw image features, batch by batch."""

import numpy as np
import torch

from stages.banks.bank import Bank
from stages.banks.images import Images
from stages.models.clip import Clip
from stages.models.device import to_tensor


@torch.inference_mode()
def embed_shard(clip: Clip, shard: Images, *, device: torch.device, batch_size: int) -> Bank:
    """Embeds a shard of stored images: N images -> N raw features (N, D), float32."""
    starts = range(0, len(shard), batch_size)
    batches = (to_tensor(shard.pixels[start : start + batch_size], device) for start in starts)
    features = [clip.encode_image(images).float().cpu().numpy() for images in batches]
    return Bank(shard.ids, shard.labels, np.concatenate(features))
