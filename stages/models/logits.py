"""Classification by words: the nearest text feature wins.

`cosine_logits` is for tensors, to attack and to tune through. What is stored or compared is computed by `exact_logits`
on numpy arrays, whose bits depend on nothing but the two vectors that are compared.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

GRID = 2.0**26  # steps between 0 and 1: a product of two entries fits into the 53 bits of a float64, and so do sums


def cosine_logits(image_features_raw: "Tensor", text_features: "Tensor", logit_scale: float) -> "Tensor":
    """logit_scale · cosine, differentiable.

    Args:
        image_features_raw: (..., N, D), not normalised.
        text_features: (..., K, D), unit norm.
        logit_scale: The factor that the model learnt.

    Returns:
        Logits (..., N, K).
    """
    norm = (image_features_raw * image_features_raw).sum(dim=-1, keepdim=True) ** 0.5
    return logit_scale * (image_features_raw / norm) @ text_features.swapaxes(-1, -2)


def routed_logits(image_features_raw: "Tensor", experts: "Tensor", router: "Tensor", logit_scale: float) -> "Tensor":
    """Return logits under text features that are mixed for each image, by softmax(router · unit image feature).

    Args:
        image_features_raw: (..., D), not normalised.
        experts: R sets of text features (R, K, D), unit norm.
        router: (R, D).
        logit_scale: The factor that the model learnt.

    Returns:
        Logits (..., K).
    """
    logits = cosine_logits(image_features_raw, experts.flatten(0, 1), logit_scale).unflatten(-1, experts.shape[:2])
    shares = cosine_logits(image_features_raw, router, 1.0).softmax(-1)
    return (shares[..., None] * logits).sum(-2)


def exact_logits(image_features_raw: np.ndarray, text_features: np.ndarray, logit_scale: float) -> np.ndarray:
    """Return logit_scale · cosine in float64: the same bits with any number of rows, any BLAS and any processor.

    Args:
        image_features_raw: (N, D), not normalised.
        text_features: (K, D).
        logit_scale: The factor that the model learnt.

    Returns:
        Logits (N, K), within logit_scale · 5e-7 of the true ones for D up to 1024.
    """
    return logit_scale * cosines(image_features_raw, text_features)


def exact_routed_logits(
    image_features_raw: np.ndarray, experts: np.ndarray, router: np.ndarray, logit_scale: float
) -> np.ndarray:
    """Return `routed_logits` (N, K) of features (N, D) in float64; their bits depend on no other row."""
    norms = np.sqrt(np.cumsum(router.astype(np.float64) ** 2, axis=-1)[:, -1])
    routed = norms * cosines(image_features_raw, router)
    shares = np.rint(GRID * np.exp(routed - routed.max(axis=1, keepdims=True)))  # the last bit of exp varies
    logits = [exact_logits(image_features_raw, expert, logit_scale) for expert in experts]
    total = sum(share[:, None] * of_expert for share, of_expert in zip(shares.T, logits, strict=True))
    return total / sum(shares.T)[:, None]


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosines (N, K) between the rows of (N, D) and (K, D), float64, as in `exact_logits`.

    The order in which a matrix product adds depends on its shape and on the processor. Here every product is a multiple
    of 2**-52, and by Cauchy and Schwarz no partial sum reaches 2: nothing is rounded, so the order cannot matter.
    """
    return on_grid(first) @ on_grid(second).T


def on_grid(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) of unit norm, their entries rounded to multiples of 1 / GRID, float64."""
    features = features.astype(np.float64)
    norms = np.sqrt(np.cumsum(features * features, axis=-1)[:, -1:])  # adds one by one; the order of `sum` may vary
    return np.rint(features / norms * GRID) / GRID


def predictions_and_margins(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions (N,) and margins (N,) of logits (N, K): true class minus best other one, positive if right."""
    right = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    others = logits.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return logits.argmax(axis=1), right - others.max(axis=1)
