"""Defences by their kind in params.yaml: image processing before the encoder, with its declared backward pass."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.defences.bpda import Transform, exact, straight_through
from stages.defences.compression import bits, jpeg, smooth_jpeg
from stages.defences.denoising import total_variation, wavelet
from stages.defences.resize_pad import resize_pad
from stages.defences.smoothing import gaussian, median
from stages.runtime.method_blocks import Defence as DefenceBlock


@dataclass
class Defence:
    """A function of images, and how an adaptive attacker differentiates it.

    Attributes:
        function: Maps images (N, 3, H, W) in [0, 1] to the same; a random one takes their `noise`, too.
        backward: `exact`, or `straight_through`, with a surrogate or without, for a function without a gradient (BPDA).
        is_random: Whether the result depends on chance; then an attacker averages over it (EOT).
        calls: How often it has drawn from noise of its own.
    """

    function: Callable[..., Tensor]
    backward: Callable[[Transform], Transform]
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
            return self.backward(self.function)(images)
        if noise is None:
            noise = ImageNoise(0, [f"call {self.calls}/{index}" for index in range(len(images))])
            self.calls += 1
        return self.backward(partial(self.function, noise=noise))(images)


def defence_of(block: DefenceBlock) -> Defence:
    """Return the defence that a block of params.yaml describes, such as `{kind: jpeg, quality: 75}`.

    The gradients of `gaussian` and `resize_pad` are their own: passed straight through, they would miss what smoothing
    makes of an attack, and reach the wrong pixels of an image that was shrunk and moved. That of `jpeg` is the gradient
    of a JPEG with soft rounding.
    """
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
    backward: Callable[[Transform], Transform] = exact if block.kind in ("gaussian", "resize_pad") else straight_through
    if block.kind == "jpeg":
        backward = partial(straight_through, surrogate=partial(smooth_jpeg, quality=block.quality))
    return Defence(function, backward, is_random=block.kind == "resize_pad")
