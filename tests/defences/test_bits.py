"""Fewer bits per channel, by hand."""

import pytest
import torch

from stages.defences.bits import bits


def test_bits_by_hand():
    images = torch.tensor([0.0, 0.16, 0.17, 0.49, 0.51, 0.84, 1.0]).expand(1, 3, 1, 7)
    one, two = torch.tensor([0, 0, 0, 0, 1, 1, 1.0]), torch.tensor([0, 0, 1, 1, 2, 3, 3]) / 3
    assert torch.equal(bits(images, bits=1), one.expand(1, 3, 1, 7))
    torch.testing.assert_close(bits(images, bits=2), two.expand(1, 3, 1, 7))


def test_8_bits_leave_stored_images_as_they_are():
    stored = (torch.arange(256.0) / 255).expand(1, 3, 2, 256)
    assert torch.equal(bits(stored, bits=8), stored)
    assert len(bits(stored, bits=3).unique()) == 8


@pytest.mark.parametrize("count", [0, 9])
def test_a_count_out_of_range_is_refused(count):
    with pytest.raises(AssertionError):
        bits(torch.zeros(1, 3, 8, 8), bits=count)
