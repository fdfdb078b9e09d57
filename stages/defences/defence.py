"""Defences by image processing before the encoder, by their kind in params.yaml."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.defences.bits import bits
from stages.defences.gaussian import gaussian
from stages.defences.jpeg import jpeg
from stages.defences.median import median
from stages.defences.resize_pad import resize_pad
from stages.defences.total_variation import total_variation
from stages.defences.wavelet import wavelet
from stages.runtime.method_blocks import Defence as DefenceBlock


@dataclass
class Defence:
    """A function of images that an adaptive attacker can differentiate.

    Attributes:
        function: Maps images (N, 3, H, W) in [0, 1] to the same; a random one takes their `noise`, too. Where it has no
            useful gradient it declares another one (BPDA, see `straight_through`).
        is_random: Whether the result depends on chance; then an attacker averages over it (EOT).
        calls: How often it has drawn from noise of its own.
    """

    function: Callable[..., Tensor]
    is_random: bool = False
    calls: int = 0

    def __call__(self, images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        """Process images (N, 3, H, W) in [0, 1].

        Args:
            images: The images.
            noise: What a random defence draws from; None for noise of its own, other noise in every call, and the same
                in the first, second, ... call of every new defence.
        """
        if not self.is_random:
            return self.function(images)
        if noise is None:
            noise = ImageNoise(0, [f"call {self.calls}/{index}" for index in range(len(images))])
            self.calls += 1
        return self.function(images, noise=noise)


def defence_of(block: DefenceBlock) -> Defence:
    """Return the defence that a block of params.yaml describes, such as `{kind: jpeg, quality: 75}`."""
    functions: dict[str, Callable[..., Tensor]] = {
        "jpeg": jpeg,
        "bits": bits,
        "median": median,
        "gaussian": gaussian,
        "total_variation": total_variation,
        "wavelet": wavelet,
        "resize_pad": resize_pad,
    }
    function = partial(functions[block.kind], **block.model_dump(exclude={"kind"}))
    return Defence(function, is_random=block.kind == "resize_pad")
