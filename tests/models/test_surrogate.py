"""The surrogate: learns what it is shown, shard by shard, and repeats itself."""

import numpy as np
import pytest
import torch

from stages.models.device import to_tensor
from stages.models.surrogate import accuracy_on, blocks, fit_surrogate

CPU = torch.device("cpu")


def test_the_surrogate_learns_and_repeats_itself(shard):
    def shards():
        return ((part.pixels, part.labels) for part in shard.split(2))

    settings = {"classes": 3, "width": 8, "epochs": 30, "batch_size": 3, "lr": 0.01, "seed": 0, "device": CPU}
    first, second = (fit_surrogate(shards, **settings) for _ in range(2))
    images = to_tensor(shard.pixels, CPU)
    right = (first(images).argmax(-1).numpy() == shard.labels).mean()
    assert right > 0.8
    assert accuracy_on(first, shards, batch_size=5, device=CPU) == right
    assert torch.equal(first(images), second(images))
    assert not any(p.requires_grad or p.grad is not None for p in first.parameters())


def test_accuracy_counts_every_image_once(shard):
    class First(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(images), -1)

    shards = [(shard.pixels, np.array([0] * 7 + [1] * 5))]
    assert accuracy_on(First().eval(), lambda: shards, batch_size=5, device=CPU) == 7 / 12
    with pytest.raises(AssertionError, match="eval mode"):
        accuracy_on(First(), lambda: shards, batch_size=5, device=CPU)


def test_a_last_batch_of_one_image_is_learned_too(shard):
    settings = {"classes": 3, "width": 2, "epochs": 1, "batch_size": 11, "lr": 0.01, "seed": 0, "device": CPU}
    network = fit_surrogate(lambda: [(shard.pixels, shard.labels)], **settings)
    assert network[1].num_batches_tracked == 2
    assert all(weight.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("sizes", [[2300], [1000, 1300], [967, 1033, 300], [1, 2299], [0, 2300]], ids=str)
def test_images_are_shuffled_in_the_same_blocks_whatever_the_shards(sizes):
    pixels, labels = np.arange(2300).reshape(-1, 1, 1, 1), np.arange(2300) % 7
    cuts = np.cumsum(sizes)[:-1]
    shards = zip(np.split(pixels, cuts), np.split(labels, cuts), strict=True)
    found = list(blocks(shards))
    assert [len(part) for _, part in found] == [1000, 1000, 300]
    assert np.array_equal(np.concatenate([part for part, _ in found]), pixels)
    assert np.array_equal(np.concatenate([part for _, part in found]), labels)
