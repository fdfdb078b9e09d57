"""The median by hand and against sorting."""

import numpy as np
import pytest
import torch

from stages.defences.median import median


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_median_equals_sorting_each_window(size):
    images = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    before = size // 2
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), *[(before, size - 1 - before)] * 2], mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3)).reshape(*images.shape, -1)
    expected = np.sort(windows, axis=-1)[..., size * size // 2]
    np.testing.assert_array_equal(median(images, size=size).numpy(), expected)


def test_median_removes_salt_from_one_channel_and_keeps_an_edge():
    clean = torch.zeros(1, 3, 8, 8)
    clean[..., 4:] = 0.5
    salted = clean.clone()
    salted[0, 1, 3, 2] = 1.0
    assert torch.equal(median(salted, size=3), clean)
