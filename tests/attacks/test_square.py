"""Square by random search: its squares, its independence of company, and its strength beside the official code."""

import pytest
import torch
from torch import nn

from stages.attacks.autoattack import auto_attack
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import margin
from stages.attacks.square import square

COUNT, QUERIES = 64, 300
IDS = [f"image/{index}" for index in range(COUNT)]
BALL = LinfBall(8 / 255)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    head = nn.Linear(2304, 4)
    network = nn.Sequential(nn.Conv2d(3, 16, 5), nn.Tanh(), nn.Flatten(), head).eval().requires_grad_(False)
    head.bias -= network(torch.rand(COUNT, 3, 16, 16)).mean(0)  # so that no class wins everywhere
    return network


def test_it_fools_as_many_images_as_the_official_code(images, network):
    labels = network(images).argmax(1)
    ours = square(margin(network, labels), images, ball=BALL, queries=range(QUERIES), noise=ImageNoise(0, IDS))
    settings = {"eps": BALL.eps, "version": "square", "queries": QUERIES + 1}
    official = [auto_attack(network, images, labels, seed=seed, **settings) for seed in range(3)]
    found, *others = ((network(one).argmax(1) != labels).sum().item() for one in (ours, *official))
    assert min(others) - 4 <= found <= max(others) + 4 and 10 < found < COUNT - 10
    assert (ours - images).abs().max() <= BALL.eps + 1e-6 and ours.min() >= 0 and ours.max() <= 1


def test_an_image_meets_the_same_squares_alone_and_in_parts(images, network):
    objective = margin(network.double(), torch.zeros(COUNT, dtype=torch.long))
    images, noise = images.double(), ImageNoise(0, IDS)
    whole = square(objective, images, ball=BALL, queries=range(40), noise=ImageNoise(0, IDS))
    half = square(objective, images, ball=BALL, queries=range(15), noise=noise)
    again = square(objective, images, ball=BALL, queries=range(15, 40), noise=noise, start=half)
    assert torch.equal(again, whole)
    alone = square(
        margin(network, torch.zeros(1, dtype=torch.long)),
        images[5:6],
        ball=BALL,
        queries=range(40),
        noise=ImageNoise(0, IDS[5:6]),
    )
    torch.testing.assert_close(alone, whole[5:6])


def test_each_proposal_is_one_square_of_one_colour_at_the_corners_of_the_ball():
    """An objective that always rises keeps all proposals; on grey nothing is clipped."""
    seen = []

    def objective(images):
        seen.append(images)
        return torch.full((len(images),), float(len(seen)))

    grey = torch.full((COUNT, 3, 16, 16), 0.5)
    square(objective, grey, ball=BALL, queries=range(60), noise=ImageNoise(0, IDS))
    start, after = seen[0] - grey, torch.stack(seen)
    torch.testing.assert_close(start.abs(), torch.full_like(start, BALL.eps))
    assert torch.equal(start, start[:, :, :1].expand_as(start)), "vertical stripes"
    sides = {0: 14, 11: 10, 51: 7}  # 0.8, 0.4, 0.2 of 256 pixels
    for query, side in sides.items():
        changed = (after[query + 1] != after[query]).any(1)  # (N, H, W)
        assert changed.any(2).sum(1).max() == side and changed.any(1).sum(1).max() == side
        boxes = (changed.any(2).nonzero()[:, 1], changed.any(1).nonzero()[:, 1])
        assert all(places.min() == 0 and places.max() == 15 for places in boxes), "anywhere in the image"
