"""Classification by words: the nearest text feature wins. For numpy arrays and for tensors alike."""

from typing import TypeVar

import numpy as np

Array = TypeVar("Array")


def cosine_logits(image_features_raw: Array, text_features: Array, logit_scale: float) -> Array:
    """logit_scale · cosine.

    Args:
        image_features_raw: (..., N, D), not normalised.
        text_features: (..., K, D), unit norm.
        logit_scale: The factor that the model learnt.

    Returns:
        Logits (..., N, K).
    """
    norm = (image_features_raw * image_features_raw).sum(axis=-1, keepdims=True) ** 0.5
    return logit_scale * (image_features_raw / norm) @ text_features.swapaxes(-1, -2)


def judge(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (N,) and margins (N,) of logits (N, K): right class minus best other one, positive if right."""
    right = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    others = logits.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return logits.argmax(axis=1), right - others.max(axis=1)
