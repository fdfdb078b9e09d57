"""Random shrinking and padding with chosen numbers in place of chance."""

import pytest
import torch
import torch.nn.functional as F

from stages.defences.resize_pad import resize_pad

ALMOST_1 = 1 - 2**-24  # the largest number that is drawn


class Chosen:
    """Hands out these numbers: a size, a horizontal and a vertical place for each image."""

    def __init__(self, *numbers: list[float]) -> None:
        self.numbers = torch.tensor(numbers)

    def uniform(self, shape, *, low=0.0, high=1.0):
        assert (shape, low, high) == ((3,), 0.0, 1.0)
        return self.numbers


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_side_and_place_by_hand(images):
    found = resize_pad(images, smallest=0.5, noise=Chosen([0.4, 0.9, 0.3]))  # side 8 + int(0.4 * 9), left 5, top 1
    small = F.interpolate(images, (11, 11), mode="bilinear", antialias=True).clamp(0, 1)
    assert torch.equal(found[..., 1:12, 5:16], small)
    border = torch.ones(16, 16, dtype=bool)
    border[1:12, 5:16] = False
    assert not found[..., border].any()


def test_each_image_has_its_own_side_and_place():
    found = resize_pad(torch.ones(2, 3, 16, 16), smallest=0.5, noise=Chosen([0.4, 0.9, 0.3], [0.0, 0.2, 0.6]))
    rows, columns = found[:, 0].amax(2).bool(), found[:, 0].amax(1).bool()
    assert [place.nonzero().flatten().tolist() for place in rows] == [[*range(1, 12)], [*range(5, 13)]]
    assert [place.nonzero().flatten().tolist() for place in columns] == [[*range(5, 16)], [*range(1, 9)]]


@pytest.mark.parametrize(
    ("numbers", "box"),
    [
        ([0.0, 0.0, 0.0], (0, 0, 8)),
        ([0.0, ALMOST_1, ALMOST_1], (8, 8, 8)),
        ([0.0, ALMOST_1, 0.0], (8, 0, 8)),
        ([ALMOST_1, ALMOST_1, ALMOST_1], (0, 0, 16)),
    ],
)
def test_the_extremes_touch_the_edges(numbers, box):
    left, top, small = box
    expected = torch.zeros(1, 3, 16, 16)
    expected[..., top : top + small, left : left + small] = 1.0
    torch.testing.assert_close(resize_pad(torch.ones(1, 3, 16, 16), smallest=0.5, noise=Chosen(numbers)), expected)


def test_white_stays_in_range_at_every_side():
    """At some sides the weights of the interpolation add up to a little more than 1."""
    numbers = [[(place + 0.5) / 32, 0.5, 0.5] for place in range(32)]
    assert resize_pad(torch.ones(32, 3, 32, 32), smallest=0.01, noise=Chosen(*numbers)).max() == 1


def test_all_sides_are_as_likely():
    numbers = [[(place + 0.5) / 90, 0.5, 0.5] for place in range(90)]
    found = resize_pad(torch.ones(90, 3, 16, 16), smallest=0.5, noise=Chosen(*numbers))
    sides = (found[:, 0].amax(1) > 0.5).sum(-1)
    assert sides.unique(return_counts=True)[1].tolist() == [10] * 9


def test_smallest_1_changes_nothing(images):
    for number in (0.0, 0.5, ALMOST_1):
        assert torch.equal(resize_pad(images, smallest=1.0, noise=Chosen([number] * 3)), images)


def test_the_smallest_side_is_rounded_to_a_pixel_and_at_least_one(images):
    for smallest, side in ((0.6, 10), (0.8, 13), (0.01, 1)):
        found = resize_pad(torch.ones_like(images), smallest=smallest, noise=Chosen([0.0, 0.5, 0.5]))
        assert (found > 0.5).sum() == 3 * side**2


def test_has_its_own_gradient_for_white_pixels_too(images):
    """It is linear: the gradient of <w, resize_pad(v)> along v is its value."""
    images[..., 8:] = 1.0
    images.requires_grad_()
    weights = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    value = (weights * resize_pad(images, smallest=0.5, noise=Chosen([0.4, 0.9, 0.3]))).sum()
    (gradient,) = torch.autograd.grad(value, images)
    torch.testing.assert_close((gradient * images).sum(), value)


def test_refuses_what_it_cannot_shrink():
    for shape, smallest in (((1, 3, 8, 9), 0.5), ((1, 3, 8, 8), 0.0), ((1, 3, 8, 8), 1.1)):
        with pytest.raises(AssertionError):
            resize_pad(torch.zeros(shape), smallest=smallest, noise=Chosen([0.0] * 3))
