"""Test-time defences by their kind in params.yaml, and how an adaptive attacker differentiates them."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.defences.anti_adversary import anti_adversary
from stages.defences.clipure import clipure_cos
from stages.defences.csr import csr
from stages.defences.et3 import et3
from stages.defences.inner import Constant, Inner, Unrolled
from stages.defences.r_tpt import r_tpt
from stages.defences.random_noise import random_noise
from stages.defences.ttc import ttc
from stages.defences.undefended import Undefended, Wording
from stages.defences.views import tte, view_ensemble
from stages.runtime.method_blocks import TestTime as TestTimeBlock

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "random_noise": random_noise,
    "tte": tte,
    "view_ensemble": view_ensemble,
    "anti_adversary": anti_adversary,
    "ttc": ttc,
    "r_tpt": r_tpt,
    "csr": csr,
    "et3": et3,
    "clipure_cos": clipure_cos,
}
GATED = ("ttc", "csr")  # they leave images alone, or add noise alone, where a value is not below their threshold


@dataclass
class TestTime:
    """A function of images, classifier and chance.

    Attributes:
        function: Maps images (N, 3, H, W) in [0, 1] and a classifier to logits (N, K); takes `noise` if it is random,
            and `inner` if it takes gradient steps.
        is_gated: Whether it asks `inner.is_open` for which images to take them.
        calls: How often it has drawn from noise of its own.
    """

    __test__ = False  # no test, whatever pytest makes of the name

    function: Callable[..., Tensor]
    is_gated: bool = False
    calls: int = 0

    @property
    def is_random(self) -> bool:
        """Return whether two calls with the same images may differ."""
        return self._takes("noise")

    @property
    def ways(self) -> list[Inner]:
        """Return how an attacker differentiates it: one way, or two where it takes gradient steps."""
        return [Constant(), Unrolled()] if self._takes("inner") else [Constant()]

    def __call__(self, images: Tensor, model: Undefended, noise: ImageNoise | None, inner: Inner) -> Tensor:
        """Return logits (N, K) of images (N, 3, H, W); `noise` None: of its own, another one in every call."""
        given: dict[str, object] = {"inner": inner} if self._takes("inner") else {}
        if self.is_random:
            if noise is None:
                noise = ImageNoise(0, [f"call {self.calls}/{index}" for index in range(len(images))])
                self.calls += 1
            given["noise"] = noise
        return self.function(images, model, **given)

    def _takes(self, name: str) -> bool:
        return name in inspect.signature(self.function).parameters


def test_time_of(block: TestTimeBlock, *, blank: Callable[[], Tensor], wording: Callable[[], Wording]) -> TestTime:
    """Return the defence that a block of params.yaml describes.

    Args:
        block: Such as `{kind: ttc}`.
        blank: Makes the feature (D,) of a text without a class, for the one kind that needs it.
        wording: Makes the prompt whose context is tuned, for the one kind that does it.
    """
    function = partial(FUNCTIONS[block.kind], **block.model_dump(exclude={"kind"}))
    if block.kind == "clipure_cos":
        function = partial(function, blank=blank())
    if block.kind == "r_tpt":
        function = partial(function, wording=wording())
    return TestTime(function, is_gated=block.kind in GATED)


test_time_of.__test__ = False  # type: ignore[attr-defined]
