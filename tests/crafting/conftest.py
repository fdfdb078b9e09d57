"""What the tests of crafting share."""

import numpy as np
import pytest

from stages.storage.images import Images


@pytest.fixture(scope="module")
def images() -> Images:
    """100 images, half of whose pixels are black, in three classes."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (100, 32, 32, 3)) * generator.integers(0, 2, (100, 32, 32, 1))
    return Images([f"train/{index}" for index in range(100)], np.arange(100) % 3, pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def few(images) -> Images:
    """60 of them: a batch of 48 and one of 12."""
    return images.take(slice(0, 60))
