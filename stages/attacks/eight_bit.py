"""The 8-bit file that an adversarial image becomes, inside the attack that makes it."""

from collections.abc import Callable

from torch import Tensor

Encoder = Callable[[Tensor], Tensor]


def through_8_bits(logits_of: Encoder) -> Encoder:
    """Shows the model each image as it would be stored, so that what an attack finds still fools from the file.

    Forward, pixels are rounded to multiples of 1/255, half to even; backward, rounding counts as the identity. In a
    ball whose eps is a multiple of 1/255 the rounded image is the one that `LinfBall.quantise` stores, bit by bit.

    Args:
        logits_of: Maps images (N, C, H, W) to logits (N, K).

    Returns:
        The same for images in [0, 1] that are not 8-bit yet.

    Source: Athalye et al. 2018 (BPDA), sec. 4.1.1.
    """

    def rounded(images: Tensor) -> Tensor:
        stored = (images.detach() * 255).round() / 255
        return logits_of(stored + (images - images.detach()))  # adds exact zeros, and with them the gradient

    return rounded
