"""Stored images -> raw image features, batch by batch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from stages.banks.bank import Bank
from stages.banks.images import Images
from stages.command import progress
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.params import Runtime


def embed_shard(clip: Clip, shard: Images, *, device: torch.device, runtime: Runtime) -> Bank:
    """Embeds a shard of stored images: N images -> N raw features (N, D), float32."""

    @torch.inference_mode()
    def embed_batch(part: Images) -> np.ndarray:
        return clip.encode_image(to_tensor(part.pixels, device)).float().cpu().numpy()

    with ThreadPoolExecutor(runtime.workers_on(device.type)) as pool:
        batches = shard.split(runtime.batches(len(shard), device.type))
        features = list(progress(pool.map(embed_batch, batches), what="batches", total=len(batches)))
    return Bank(shard.ids, shard.labels, np.concatenate(features))
