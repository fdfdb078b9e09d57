"""The refitted head: against softmax regression by hand, and under an attack."""

import math

import numpy as np
import pytest
import torch

from stages.models.backbones import load_backbone
from stages.models.linear_head import Surrogate, features_of, fit_head
from stages.models.surrogate import accuracy_on
from tests.victims import frozen

CPU = torch.device("cpu")
SETTINGS = {"classes": 3, "epochs": 4, "batch_size": 5, "lr": 0.01, "seed": 0}


def cloud(n: int = 12, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features in three classes."""
    return torch.randn(n, width, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 3


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("timm:test_resnet", pretrained=None, device=CPU)


def softmax_regression(features, labels, *, classes, epochs, batch_size, lr, seed):
    """AdamW by its paper (Loshchilov and Hutter 2019, algorithm 2), torch's defaults, in numpy and float64."""
    generator = torch.Generator().manual_seed(seed)
    x, y = np.c_[features.double().numpy(), np.ones(len(labels))], np.eye(classes)[labels.numpy()]
    weights, first, second, step = (*(np.zeros((classes, x.shape[1])) for _ in range(3)), 0)
    for epoch in range(epochs):
        rate = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        order = torch.randperm(len(y), generator=generator).numpy()
        for chosen in np.split(order, range(batch_size, len(y), batch_size)):
            odds = np.exp(x[chosen] @ weights.T)
            gradient = (odds / odds.sum(1, keepdims=True) - y[chosen]).T @ x[chosen] / len(chosen)
            step += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            moved = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            weights = weights * (1 - rate * 0.01) - rate * moved
    return weights


def test_the_head_is_softmax_regression():
    features, labels = cloud()
    head = fit_head(features, labels, **SETTINGS)
    found = np.c_[head.weight.detach().numpy(), head.bias.detach().numpy()]
    np.testing.assert_allclose(found, softmax_regression(features, labels, **SETTINGS), atol=1e-5)


def test_the_head_repeats_itself_and_draws_from_no_one():
    state = torch.get_rng_state()
    first, again = (fit_head(*cloud(), **SETTINGS) for _ in range(2))
    other = fit_head(*cloud(), **{**SETTINGS, "seed": 1})
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.weight, again.weight) and torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    assert not first.weight.requires_grad and first.weight.grad is None


@pytest.mark.parametrize("batch_size", [2, 5, 100])
def test_features_come_in_order_whatever_the_shards(backbone, shard, batch_size):
    calls = []

    def shards():
        calls.append(None)
        return ((part.pixels, part.labels.astype(np.int32)) for part in shard.split(5))

    features, labels = features_of(backbone, shards, batch_size=batch_size)
    images = torch.from_numpy(shard.pixels / np.float32(255)).permute(0, 3, 1, 2)
    torch.testing.assert_close(features, backbone(images))
    assert not features.requires_grad and labels.dtype == torch.int64
    assert labels.tolist() == shard.labels.tolist() and len(calls) == 2


def test_the_surrogate_learns_and_an_attack_fools_it_and_moves_no_weight(backbone, shard):
    pixels = shard.pixels // 4 + 80 * shard.labels[:, None, None, None].astype(np.uint8)  # classes by brightness

    def shards():
        return [(pixels, shard.labels)]

    features, labels = features_of(backbone, shards, batch_size=12)
    head = fit_head(features, labels, **{**SETTINGS, "epochs": 200, "lr": 0.1})
    surrogate = Surrogate(backbone, head)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(surrogate(images), features @ head.weight.T + head.bias)
    assert accuracy_on(surrogate, shards, batch_size=5, device=CPU) == 1
    images.requires_grad_()
    with frozen(surrogate):
        loss = torch.nn.functional.cross_entropy(surrogate(images), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
        images_adv = (images + gradient.sign() * 16 / 255).clamp(0, 1)
        assert torch.nn.functional.cross_entropy(surrogate(images_adv), labels, reduction="sum") > loss


def test_a_surrogate_that_trains_is_not_used(backbone):
    surrogate = Surrogate(backbone, torch.nn.Linear(backbone.feature_width, 3))
    assert not surrogate.head.weight.requires_grad
    surrogate.backbone.body.bn1.train()
    with pytest.raises(AssertionError, match="eval mode"):
        surrogate(torch.zeros(1, 3, 32, 32))
    surrogate.eval()
    assert surrogate(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
