"""Batch after batch, several side by side, back in order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from stages.banks.images import Images
from stages.command import progress
from stages.params import Runtime


def over_batches(
    work: Callable[[Images], np.ndarray], shard: Images, *, device: torch.device, runtime: Runtime
) -> np.ndarray:
    """Applies `work` to even batches of a shard; what it returns for each image is put together in the shard's order.

    Args:
        work: Maps n images to an array (n, ...).
        shard: N images.
        device: Where `work` computes.
        runtime: How many images at a time, and how many batches side by side; neither changes the result.

    Returns:
        Array (N, ...).
    """
    batches = shard.split(runtime.batches(len(shard), device.type))
    with ThreadPoolExecutor(runtime.workers_on(device.type)) as pool:
        return np.concatenate(list(progress(pool.map(work, batches), what="batches", total=len(batches))))
