"""Fewer bits per channel as a defence."""

from torch import Tensor

from stages.defences.bpda import straight_through


def bits(images: Tensor, *, bits: int) -> Tensor:
    """Round each channel to 2^bits evenly spaced values, black and white among them; half to even.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        bits: 1 to 8; 8 leaves a stored image as it is.

    Returns:
        (N, 3, H, W), multiples of 1 / (2^bits - 1); the gradient is that of the identity.

    Source: Xu et al. 2018 (feature squeezing), sec. III-A.
    """
    assert 1 <= bits <= 8, bits
    steps = 2**bits - 1
    return straight_through(lambda images: (images * steps).round() / steps)(images)
