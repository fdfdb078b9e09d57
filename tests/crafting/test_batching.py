"""Batches: back in order, halved when memory is short, no larger than it holds."""

from dataclasses import replace
from threading import Lock

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.crafting.batching import Batching, even_batches, fitting, over_batches
from stages.crafting.embedding import embed_shard
from stages.models.device import largest_batch
from stages.runtime.params import load_params
from stages.storage.images import Images
from stages.storage.memory import is_out_of_memory

CPU = torch.device("cpu")
RUNTIME = load_params().runtime
any_case = settings(max_examples=100, deadline=None, derandomize=True)


def numbered(count: int) -> Images:
    return Images([str(index) for index in range(count)], np.arange(count), np.zeros((count, 1, 1, 3), np.uint8))


def work_up_to(most: int, seen: list[int]):
    """What a device does that holds `most` images."""

    def work(part):
        seen.append(len(part))
        if len(part) > most:
            raise torch.OutOfMemoryError
        return part.labels * 10

    return work


@any_case
@given(st.integers(1, 3000), st.integers(1, 700), st.integers(1, 16))
def test_batches_are_even_hold_every_image_once_and_keep_all_workers_busy(count, size, side_by_side):
    """Unless batches would become so small that matrix products take other kernels."""
    runtime = RUNTIME.model_copy(update={"batch_size": size, "workers": side_by_side})
    batching = even_batches(runtime, count, "cpu")
    seen, lock = [], Lock()

    def work(part: Images) -> np.ndarray:
        with lock:
            seen.append(part.labels.tolist())
        return part.labels * 2

    assert batching.smallest == min(size, 32)
    apart = batching._replace(smallest=1)  # without copies
    assert over_batches(work, numbered(count), apart).tolist() == list(range(0, 2 * count, 2))
    assert sum(sorted(seen), []) == list(range(count))  # noqa: RUF017 - a handful of lists
    lengths = sorted(map(len, seen))
    assert lengths[0] > 0 and lengths[-1] <= min(size, lengths[0] + 1)
    batches, fewest = batching.batches, -(-count // size)
    assert batching.workers == side_by_side and fewest <= batches < fewest + side_by_side
    assert batches % side_by_side == 0 or count // (batches + 1) < 32
    assert batches == fewest or count // batches >= 32


@any_case
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5), st.integers(1, 8))
def test_halving_loses_no_image_and_changes_no_order(count, most, batches, side_by_side):
    found = over_batches(work_up_to(most, []), numbered(count), Batching(min(batches, count), side_by_side))
    assert found.tolist() == list(range(0, 10 * count, 10))


@pytest.mark.parametrize(("smallest", "seen"), [(1, [12, 6, 3, 3, 6, 3, 3]), (32, [32, 16, 12, 6, 3, 3, 6, 3, 3])])
def test_a_batch_too_large_is_halved_until_it_fits(shard, capsys, smallest, seen):
    """Of copies of its images first."""
    shard, found = replace(shard, labels=np.arange(12)), []
    results = over_batches(work_up_to(3, found), shard, Batching(1, 1, smallest=smallest))
    assert results.tolist() == (np.arange(12) * 10).tolist()
    assert found == seen
    assert capsys.readouterr().err.splitlines() == [
        f"out of memory with {count} images at a time: halved" for count in seen if count > 3
    ]


@pytest.mark.parametrize(("batching", "rows"), [(Batching(3, 1), 32), (Batching(3, 1, whole=True), 4)])
def test_small_batches_are_filled_up_with_copies_of_their_images(shard, batching, rows):
    """But for an attack to which it matters who is in a batch."""
    shard, seen = replace(shard, labels=np.arange(12)), []

    def work(part):
        seen.append(part.labels.tolist())
        return part.labels * 10

    assert over_batches(work, shard, batching).tolist() == (np.arange(12) * 10).tolist()
    assert seen == [[first + place % 4 for place in range(rows)] for first in (0, 4, 8)]


def test_there_are_no_batches_without_images(shard):
    assert over_batches(work_up_to(40, []), shard.take(slice(0, 2)), Batching(3, 1)).shape == (2,)


@pytest.mark.parametrize(("most", "batching"), [(0, Batching(1, 1)), (3, Batching(1, 1, whole=True))])
def test_what_cannot_be_halved_says_so(shard, most, batching):
    with pytest.raises(ValueError, match=r"runtime\.device: out of memory with \d+ images? at a time"):
        over_batches(work_up_to(most, []), shard, batching)


def test_the_batch_fits_half_of_the_free_memory(monkeypatch):
    """Two tanh keep one result of 100 floats each: 800 bytes an image; the weights of a product are kept once."""
    weight = torch.eye(100)
    free = psutil.virtual_memory()._replace(available=160_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)

    def encode(images):
        return (images.flatten(1).tanh() @ weight).tanh()

    assert largest_batch(encode, torch.zeros(1, 1, 10, 10), workers=1) == 100
    assert largest_batch(encode, torch.zeros(1, 1, 10, 10), workers=4) == 25
    assert largest_batch(encode, torch.zeros(1, 1, 10, 10), workers=1000) == 1


@pytest.mark.parametrize("side_by_side", [2, 3, 8, 16])
def test_workers_change_no_bit_of_a_feature(clip, side_by_side):
    """However many there are, no batch becomes so small that matrix products take other kernels."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 32, 32, 3), np.uint8)
    shard = Images([str(index) for index in range(96)], np.zeros(96, np.int64), pixels)

    def features(workers):
        runtime = RUNTIME.model_copy(update={"workers": workers})
        return embed_shard(clip, shard, device=CPU, runtime=runtime).embeddings

    assert np.array_equal(features(side_by_side), features(1))


def test_an_expectation_over_samples_makes_batches_smaller(monkeypatch):
    free = psutil.virtual_memory()._replace(available=160_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    one = RUNTIME.model_copy(update={"workers": 1})

    def sizes(samples):
        return fitting(one, lambda images: images.flatten(1).tanh().tanh(), 10, CPU, samples=samples).batch_size

    assert [sizes(samples) for samples in (1, 2, 1000)] == [33, 16, 1]


def test_little_memory_makes_small_batches_and_much_changes_nothing(clip, monkeypatch):
    assert fitting(RUNTIME, clip.encode_image, clip.image_size, CPU) == RUNTIME
    tiny = RUNTIME.model_copy(update={"batch_size": 1})
    assert fitting(tiny, clip.encode_image, clip.image_size, CPU).batch_size == 32
    free = psutil.virtual_memory()._replace(available=20_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert 1 <= fitting(RUNTIME, clip.encode_image, clip.image_size, CPU).batch_size < 100


def test_torch_says_in_words_that_the_memory_is_full():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError()) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
