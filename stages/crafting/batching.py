"""Split shards into batches, run several side by side, and put the results back in order."""

import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
    """Plan for splitting a shard into even batches.

    Attributes:
        batches: Number of batches.
        workers: How many go side by side.
        whole: Whether each batch must go as it is: no copies, no halves.
        smallest: Rows of a batch at least; copies of its images fill it up.
    """

    batches: int
    workers: int
    whole: bool = False
    smallest: int = SMALLEST_BATCH


def even_batches(runtime: Runtime, count: int, device: str) -> Batching:
    """Return even batches of at most `runtime.batch_size` images that keep all workers busy to the end.

    Workers alone never make a batch smaller than SMALLEST_BATCH.
    """
    workers = runtime.workers_on(device)
    busy = workers * math.ceil(count / (workers * runtime.batch_size))
    batches = max(math.ceil(count / runtime.batch_size), min(busy, count // SMALLEST_BATCH))
    return Batching(batches, workers, smallest=min(SMALLEST_BATCH, runtime.batch_size))


def over_batches(work: Callable[[Images], np.ndarray], shard: Images, batching: Batching) -> np.ndarray:
    """Apply a function to even batches of a shard and concatenate the results in the order of the shard.

    A batch of few images is filled up with copies of them: small matrix products use other kernels, whose sums differ
    in the last bit, and the result of an image must not depend on the number of images beside it.

    Args:
        work: Maps n images to an array (n, ...).
        shard: N images.
        batching: How to split them. A batch too large for the memory is halved, unless it must stay whole.

    Returns:
        Array (N, ...).

    Raises:
        ValueError: If the memory does not hold the smallest batch.
    """

    def by_halves(part: Images, smallest: int) -> np.ndarray:
        rows = max(len(part), smallest)
        try:
            return work(part.take(np.arange(rows) % len(part)))[: len(part)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batching.whole or rows == 1:
                raise ValueError(
                    f"runtime.device: out of memory with {rows} images at a time, and no fewer can go; "
                    "fewer runtime.workers or another device may help"
                ) from error
        torch.cuda.empty_cache()  # after the `except`, because the error refers to the tensors of the failed attempt
        print(f"out of memory with {rows} images at a time: halved", file=sys.stderr)
        halves = part.split(2) if rows == len(part) else [part]  # copies go first
        return np.concatenate([by_halves(half, min(smallest, rows // 2)) for half in halves])

    batches = shard.split(min(batching.batches, len(shard)))
    smallest = 1 if batching.whole else batching.smallest
    with ThreadPoolExecutor(batching.workers) as pool:
        # no thread for one worker: if memory is short, Python waits forever for it to start
        results = (map if batching.workers == 1 else pool.map)(partial(by_halves, smallest=smallest), batches)
        return np.concatenate(list(progress(results, what="batches", total=len(batches))))


def fitting(runtime: Runtime, encode: Encoder, image_size: int, device: torch.device, *, samples: int = 1) -> Runtime:
    """Return the runtime with a batch size for which the gradients of all workers fit into half of the free memory.

    Args:
        runtime: The settings; their batch size, or SMALLEST_BATCH if it is smaller, is an upper bound.
        encode: Network that is differentiated, in the precision of the attack: images (N, 3, H, W) -> features (N, D).
        image_size: H and W, in pixels.
        device: Where to compute.
        samples: Forward passes per backward pass, as for the expectation over a random defence.
    """
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    workers = runtime.workers_on(device.type) * processes_on(runtime, device.type)
    most = largest_batch(encode, image, workers=workers)
    wanted = max(runtime.batch_size, SMALLEST_BATCH)
    return runtime.model_copy(update={"batch_size": min(wanted, max(most // samples, 1))})


def processes_on(runtime: Runtime, device: str) -> int:
    """Return how many processes like this one may share the machine's memory."""
    return max(available_cores() // runtime.actor_cpus, 1) if (runtime.engine, device) == ("ray", "cpu") else 1
