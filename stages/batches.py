"""Batch after batch, several side by side, back in order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stages.banks.images import Images
from stages.command import progress
from stages.params import Batching


def over_batches(work: Callable[[Images], np.ndarray], shard: Images, batching: Batching) -> np.ndarray:
    """Applies `work` to even batches of a shard; what it returns for each image is put together in the shard's order.

    Args:
        work: Maps n images to an array (n, ...).
        shard: N images.
        batching: How to split them.

    Returns:
        Array (N, ...).
    """
    batches = shard.split(batching.batches)
    with ThreadPoolExecutor(batching.workers) as pool:
        return np.concatenate(list(progress(pool.map(work, batches), what="batches", total=len(batches))))
