"""Attacks and logit losses against other implementations, pixel by pixel, on a small random CNN in evaluation mode."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import nn

from stages.attacks.directions import TranslationInvariant
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, dlr, max_logit
from stages.attacks.pgd import Momentum, pgd
from tests.attacks import oracles

IDS = [f"image/{index}" for index in range(6)]
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
BALL, STEP_SIZE, STEPS = LinfBall(8 / 255), 2 / 255, 10
BUDGET = {"eps": BALL.eps, "step_size": STEP_SIZE, "steps": STEPS}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()]
    built = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5)).requires_grad_(False)
    built.train()(torch.rand(64, 3, 16, 16))  # gives the normalisation its statistics
    return built.eval()


def attack(network, images, *, objective=None, direction=None, start=None):
    return pgd(
        objective or cross_entropy(network, LABELS),
        images,
        ball=BALL,
        step_size=STEP_SIZE,
        steps=STEPS,
        noise=ImageNoise(0, IDS),
        direction=direction,
        start=images if start is None else start,
    )


def assert_same_pixels(found, oracle):
    torch.testing.assert_close(found, oracle, rtol=0, atol=1e-6)


def test_pgd_from_the_clean_images(images, network):
    assert_same_pixels(attack(network, images), oracles.pgd(network, images, LABELS, start=images, **BUDGET))


def test_pgd_from_the_same_random_start(images, network):
    noise = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) - 1
    oracle = oracles.pgd(network, images, LABELS, start=(images + BALL.eps * noise).clamp(0, 1), **BUDGET)
    assert_same_pixels(attack(network, images, start=BALL.random_start(images, noise)), oracle)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_momentum_is_mifgsm(images, network, decay):
    oracle = oracles.mi_fgsm(network, images, LABELS, momentum=decay, **BUDGET)
    assert_same_pixels(attack(network, images, direction=Momentum(decay)), oracle)


@pytest.mark.parametrize("kernel_size", [1, 5, 15])
def test_translation_invariant_momentum_is_tifgsm(images, network, kernel_size):
    smooth = oracles.gaussian_filter(kernel_size)
    oracle = oracles.mi_fgsm(network, images, LABELS, momentum=1.0, gradient_filter=smooth, **BUDGET)
    direction = TranslationInvariant(kernel_size, Momentum(1.0))
    assert_same_pixels(attack(network, images, direction=direction), oracle)


def test_dlr_and_its_gradient_equal_autoattack(network):
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 5, (200,), generator=torch.Generator().manual_seed(3))
    found, oracle = dlr(lambda _: logits, labels)(None), APGDAttack(network, eps=BALL.eps).dlr_loss(logits, labels)
    torch.testing.assert_close(found, oracle)
    torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), logits) for loss in (found, oracle)))


def test_logit_losses_by_hand():
    logits = torch.tensor([[1.0, 5.0, 3.0, -2.0], [1.0, 5.0, 3.0, -2.0], [1.0, 5.0, 3.0, -2.0]])
    labels = torch.tensor([1, 2, 3])
    assert max_logit(lambda _: logits, labels)(None).tolist() == [-5.0, -3.0, 2.0]
    assert dlr(lambda _: logits, labels)(None).tolist() == pytest.approx([-2 / 4, 2 / 4, 7 / 4])


def test_dlr_ignores_scale_and_shift_of_the_logits():
    logits, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(4)), LABELS
    torch.testing.assert_close(dlr(lambda _: 100 * logits + 7, labels)(None), dlr(lambda _: logits, labels)(None))


def test_dlr_needs_three_classes():
    with pytest.raises(ValueError, match="dlr compares three logits, here are 2; allowed is margin"):
        dlr(lambda _: torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))(None)
