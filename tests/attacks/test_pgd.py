"""PGD against what is known without running it."""

import pytest
import torch
from torch import nn

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, diverse, feature_cosine, feature_kl, feature_l2, margin, shrink
from stages.attacks.pgd import pgd, strongest
from tests.victims import frozen

IDS = [f"image/{index}" for index in range(6)]
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
BALL = LinfBall(8 / 255)


def test_reaches_the_corner_of_the_ball_on_a_linear_objective(images):
    weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = pgd(
        lambda x: (x * weight).sum((1, 2, 3)), images, ball=BALL, step_size=2 / 255, steps=10, noise=ImageNoise(0, IDS)
    )
    torch.testing.assert_close(found, (images + BALL.eps * weight.sign()).clamp(0, 1))


def test_does_not_depend_on_the_batch_or_its_order(images, network):
    def attack(chosen):
        features = network(images[chosen])
        noise = ImageNoise(0, [IDS[index] for index in chosen])
        objective = diverse(feature_kl(network, features), probability=0.7, smallest=0.5, noise=noise)
        return pgd(objective, images[chosen], ball=BALL, step_size=2 / 255, steps=5, noise=noise)

    whole = attack([0, 1, 2, 3, 4, 5])
    torch.testing.assert_close(attack([5, 3, 1]), whole[[5, 3, 1]], rtol=0, atol=1e-7)


def test_leaves_nothing_behind(images, network):
    kept, objective = images.clone(), feature_kl(network, network(images))
    with frozen(network):
        found = pgd(objective, images, ball=BALL, step_size=0.01, steps=3, noise=ImageNoise(0, IDS))
    assert torch.equal(images, kept)
    assert not found.requires_grad


def test_refuses_images_outside_of_the_pixel_range(images):
    with pytest.raises(ValueError, match="allowed are 0 to 1"):
        pgd(lambda x: x.sum((1, 2, 3)), images * 255, ball=BALL, step_size=1, steps=1, noise=ImageNoise(0, IDS))


def test_feature_kl_by_hand():
    clean, moved = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    p = torch.tensor([1.0, torch.e]) / (1 + torch.e)
    by_hand = (p * (p / p.flip(0)).log()).sum()
    assert feature_kl(lambda _: moved, clean)(None).item() == pytest.approx(by_hand.item())
    assert feature_kl(lambda _: clean, clean)(None).item() == pytest.approx(0, abs=1e-7)


def test_other_objectives_by_hand():
    clean, moved = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    assert feature_cosine(lambda _: moved, clean)(None).item() == pytest.approx(-24 / 25)
    assert feature_l2(lambda _: moved, clean)(None).item() == pytest.approx(2)
    logits, labels = torch.tensor([[1.0, 5.0, 3.0], [1.0, 5.0, 3.0]]), torch.tensor([1, 2])
    assert margin(lambda _: logits, labels)(None).tolist() == [-2.0, 2.0]


def test_shrink_equals_interpolation_and_padding_image_by_image():
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    sides, left, top = (
        torch.tensor([16.0, 9.0, 12.0, 15.0]),
        torch.tensor([0.5, 0.0, 0.99, 0.3]),
        torch.tensor([0.2, 0.9, 0.5, 0.0]),
    )
    found = shrink(images, sides, left=left, top=top)
    for index, side in enumerate(sides.int().tolist()):
        expected = torch.zeros(3, 16, 16)
        x, y = (int((16 - side + 1) * place[index]) for place in (left, top))
        small = nn.functional.interpolate(images[index : index + 1], size=(side, side), mode="bilinear")
        expected[:, y : y + side, x : x + side] = small[0]
        torch.testing.assert_close(found[index], expected)


def test_diversity_of_probability_zero_is_the_objective_itself(images, network):
    plain = cross_entropy(network, LABELS)
    same = diverse(plain, probability=0.0, smallest=0.5, noise=ImageNoise(0, IDS))
    changed = diverse(plain, probability=1.0, smallest=0.5, noise=ImageNoise(0, IDS))
    torch.testing.assert_close(same(images), plain(images))
    assert not torch.allclose(changed(images), plain(images))


def test_the_strongest_of_several_results_is_kept_image_by_image(images):
    """As it is stored: what rounding takes away does not count, and the first of equal ones stays."""
    stored = (images * 255).round() / 255
    moves = torch.tensor([[1.0, 0.0, 2.0, 0.0, 0.3, 0.0], [0.0, 1.0, 1.0, 0.0, 0.4, -1.0]]) / 255
    attempts = [(stored + move[:, None, None, None]).clamp(0, 1) for move in moves]
    kept = strongest(attempts, lambda x: (x - stored).abs().sum((1, 2, 3)), stored, ball=BALL)
    expected = torch.stack([attempts[which][index] for index, which in enumerate([0, 1, 0, 0, 0, 1])])
    assert torch.equal(kept, expected)
