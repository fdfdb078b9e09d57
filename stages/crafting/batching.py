"""Split shards into batches, run several side by side, and put the results back in order."""

import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.models.device import largest_batch
from stages.runtime.cli import is_out_of_memory, progress
from stages.runtime.cores import available_cores
from stages.runtime.params import Runtime
from stages.storage.images import Images

Encoder = Callable[[Tensor], Tensor]
SMALLEST_BATCH = 32  # matrix products of fewer rows take other kernels, whose sums differ in the last bit


class Batching(NamedTuple):
    """How many even batches a shard is split into, how many go side by side, and whether each must stay whole."""

    batches: int
    workers: int
    whole: bool = False


def even_batches(runtime: Runtime, count: int, device: str) -> Batching:
    """Return even batches of at most `runtime.batch_size` images that keep all workers busy to the end.

    Workers alone never make a batch smaller than SMALLEST_BATCH.
    """
    workers = runtime.workers_on(device)
    busy = workers * math.ceil(count / (workers * runtime.batch_size))
    return Batching(max(math.ceil(count / runtime.batch_size), min(busy, count // SMALLEST_BATCH)), workers)


def over_batches(work: Callable[[Images], np.ndarray], shard: Images, batching: Batching) -> np.ndarray:
    """Apply a function to even batches of a shard and concatenate the results in the order of the shard.

    Args:
        work: Maps n images to an array (n, ...).
        shard: N images.
        batching: How to split them. A batch too large for the memory is halved, unless it must stay whole.

    Returns:
        Array (N, ...).

    Raises:
        ValueError: If the memory does not hold the smallest batch.
    """

    def by_halves(part: Images) -> np.ndarray:
        try:
            return work(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batching.whole or len(part) == 1:
                raise ValueError(
                    f"runtime.device: out of memory with {len(part)} images at a time, and no fewer can go; "
                    "fewer runtime.workers or another device may help"
                ) from error
        torch.cuda.empty_cache()  # after the `except`, because the error refers to the tensors of the failed attempt
        print(f"out of memory with {len(part)} images at a time: halved", file=sys.stderr)
        return np.concatenate([by_halves(half) for half in part.split(2)])

    batches = shard.split(batching.batches)
    with ThreadPoolExecutor(batching.workers) as pool:
        return np.concatenate(list(progress(pool.map(by_halves, batches), what="batches", total=len(batches))))


def fitting(runtime: Runtime, encode: Encoder, image_size: int, device: torch.device, *, samples: int = 1) -> Runtime:
    """Return the runtime with a batch size for which the gradients of all workers fit into half of the free memory.

    Args:
        runtime: The settings; their batch size is an upper bound.
        encode: Network that is differentiated, in the precision of the attack: images (N, 3, H, W) -> features (N, D).
        image_size: H and W, in pixels.
        device: Where to compute.
        samples: Forward passes per backward pass, as for the expectation over a random defence.
    """
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    workers = runtime.workers_on(device.type) * processes_on(runtime, device.type)
    most = largest_batch(encode, image, workers=workers)
    return runtime.model_copy(update={"batch_size": min(runtime.batch_size, max(most // samples, 1))})


def processes_on(runtime: Runtime, device: str) -> int:
    """Return how many processes like this one may share the machine's memory."""
    return max(available_cores() // runtime.actor_cpus, 1) if (runtime.engine, device) == ("ray", "cpu") else 1
