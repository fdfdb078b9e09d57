"""Randomness that belongs to an image: no batch size, order, shard or device can change it."""

import hashlib
from copy import copy
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


class ImageNoise:
    """One random stream per image, keyed by the seed and the image's id, drawn on the CPU.

    Args:
        seed: The seed of the run.
        ids: Names of the N images.
    """

    def __init__(self, seed: int, ids: list[str]) -> None:
        self._seed, self.ids = seed, ids

    @cached_property
    def _streams(self) -> list[np.random.Generator]:
        """The streams, which take longer to make than to draw from: made when they are first wanted."""
        digests = (hashlib.sha256(f"{self._seed}/{id}".encode()).digest() for id in self.ids)
        return [np.random.default_rng(list(digest)) for digest in digests]

    def uniform(self, shape: tuple[int, ...], *, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draws (N, *shape), float32, uniform in [low, high)."""
        drawn = np.empty((len(self._streams), *shape), np.float32)
        for index, stream in enumerate(self._streams):
            stream.random(dtype=np.float32, out=drawn[index : index + 1])
        return torch.from_numpy(drawn).mul_(high - low).add_(low)

    def take(self, places: Tensor) -> "ImageNoise":
        """The streams of the images at these places (n,), not copied: what is drawn here is gone there."""
        part = copy(self)
        part.ids = [self.ids[place] for place in places.tolist()]
        part._streams = [self._streams[place] for place in places.tolist()]
        return part

    def with_company(self, count: int) -> "ImageNoise":
        """The streams of these images, not copied, and behind them those of `count` others."""
        others = ImageNoise(self._seed, [f"company/{index}" for index in range(count)])
        part = copy(self)
        part.ids = [*self.ids, *others.ids]
        part._streams = [*self._streams, *others._streams]
        return part

    def beside(self, purpose: str) -> "ImageNoise":
        """Other streams of the same images, from their beginning: what is drawn there is not missing here."""
        return ImageNoise(self._seed, [f"{purpose}/{id}" for id in self.ids])
