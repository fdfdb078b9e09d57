"""What the tests of attacks share."""

import pytest
import torch
from torch import nn


@pytest.fixture
def images() -> torch.Tensor:
    """Six random images of 8 px."""
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> nn.Module:
    """A random, smooth network of four classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval().requires_grad_(False)
