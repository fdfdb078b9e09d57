"""The planner of batches, for any number of images, size of batches and number of workers."""

from threading import Lock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.crafting.batching import Batching, even_batches, over_batches
from stages.runtime.params import load_params
from stages.storage.images import Images

RUNTIME = load_params().runtime
any_case = settings(max_examples=100, deadline=None, derandomize=True)
counts, sizes, workers = st.integers(1, 3000), st.integers(1, 700), st.integers(1, 16)


def numbered(count: int) -> Images:
    return Images([str(index) for index in range(count)], np.arange(count), np.zeros((count, 1, 1, 3), np.uint8))


@any_case
@given(counts, sizes, workers)
def test_every_image_is_in_one_batch_in_order_and_no_batch_is_too_large(count, size, side_by_side):
    batching = even_batches(RUNTIME.model_copy(update={"batch_size": size, "workers": side_by_side}), count, "cpu")
    seen, lock = [], Lock()

    def work(part: Images) -> np.ndarray:
        with lock:
            seen.append(part.labels.tolist())
        return part.labels * 2

    assert batching.smallest == min(size, 32)
    found = over_batches(work, numbered(count), batching._replace(smallest=1))
    assert found.tolist() == list(range(0, 2 * count, 2))
    assert sum(sorted(seen), []) == list(range(count))  # noqa: RUF017 - a handful of lists
    lengths = sorted(map(len, seen))
    assert lengths[0] > 0 and lengths[-1] <= min(size, lengths[0] + 1)


@any_case
@given(counts, sizes, workers)
def test_all_workers_are_busy_to_the_end_unless_batches_would_become_too_small(count, size, side_by_side):
    runtime = RUNTIME.model_copy(update={"batch_size": size, "workers": side_by_side})
    batches, found, *_ = even_batches(runtime, count, "cpu")
    fewest = -(-count // size)
    assert found == side_by_side
    assert batches % side_by_side == 0 or count // (batches + 1) < 32
    assert batches == fewest or count // batches >= 32
    assert batches < fewest + side_by_side


@any_case
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5), st.integers(1, 8))
def test_halving_loses_no_image_and_changes_no_order(count, most, batches, side_by_side):
    def work(part: Images) -> np.ndarray:
        if len(part) > most:
            raise torch.OutOfMemoryError
        return part.labels

    found = over_batches(work, numbered(count), Batching(min(batches, count), side_by_side))
    assert found.tolist() == list(range(count))
