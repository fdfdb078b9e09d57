"""A method taken apart, as defences at test time call it."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Undefended(NamedTuple):
    """The classifier behind a defence.

    Attributes:
        encode: Maps images (N, 3, H, W) in [0, 1] to raw image features (N, D), not normalised.
        classify: Maps raw image features (..., N, D) to logits (..., N, K); takes other `text_features` (..., K, D)
            than the method's as a second argument.
        combine: Maps the logits (N, V, K) of V views, and weights (N, V) where they differ, to logits (N, K).
    """

    encode: Callable[[Tensor], Tensor]
    classify: Callable[..., Tensor]
    combine: Callable[..., Tensor]

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, 3, H, W)."""
        return self.classify(self.encode(images))


class Wording(NamedTuple):
    """A prompt with a context that a defence may tune for each image.

    Attributes:
        context: Context vectors (M, D_token) that tuning starts from.
        text_features: Maps contexts (N, M, D_token) to text features (N, K, D), unit norm; differentiable.
    """

    context: Tensor
    text_features: Callable[[Tensor], Tensor]
