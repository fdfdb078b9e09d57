"""Targets of a targeted attack, on models whose distances are known."""

import pytest
import torch

from stages.attacks.targets import CANDIDATES, nearest_classes


def distances(weights, images, labels):
    """Exact L-infinity distances (N, K) to the boundaries of a linear model."""
    logits = images.flatten(1) @ weights.T
    gaps = logits.gather(1, labels[:, None]) - logits
    norms = (weights[labels][:, None] - weights[None]).abs().sum(-1)
    return (gaps / norms.clamp_min(1e-12)).scatter(1, labels[:, None], torch.inf)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_nearest_classes_of_a_linear_model_are_those_of_the_formula(count):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 48, generator=generator) * torch.tensor([1.0, 5, 0.2, 1, 3, 0.5])[:, None]
    images, labels = torch.rand(20, 3, 4, 4, generator=generator), torch.arange(20) % 6
    found = nearest_classes(lambda x: x.flatten(1) @ weights.T, images, labels, count)
    expected = distances(weights, images, labels).argsort(1)[:, : min(count, 5)]
    assert torch.equal(found, expected)
    most_likely = (images.flatten(1) @ weights.T).scatter(1, labels[:, None], -torch.inf).argmax(1)
    assert (found[:, 0] != most_likely).any()  # the largest logit alone would choose otherwise


def test_of_many_classes_the_most_likely_are_looked_at():
    generator = torch.Generator().manual_seed(1)
    weights, images = torch.randn(40, 48, generator=generator), torch.rand(5, 3, 4, 4, generator=generator)
    labels = torch.arange(5)
    found = nearest_classes(lambda x: x.flatten(1) @ weights.T, images, labels, 30)
    likely = (images.flatten(1) @ weights.T).scatter(1, labels[:, None], -torch.inf).topk(CANDIDATES, dim=1).indices
    assert torch.equal(found.sort(1).values, likely.sort(1).values)
    assert not images.requires_grad
