"""Distance of attacked images from their clean form in the embedding, with an image prompt and without it."""

import numpy as np
import pyarrow as pa

from stages.models.logits import cosines

DIGITS = 6  # a sum may end otherwise elsewhere, behind these


def effect_table(prompted: bool, clean: np.ndarray, attacked: np.ndarray, labels: np.ndarray) -> pa.Table:
    """Compare the embeddings of N images.

    Args:
        prompted: Whether they were embedded and attacked with the prompt.
        clean: (N, D), not normalised.
        attacked: (N, D), of the same images.
        labels: (N,), of at least two classes.

    Returns:
        N rows: prompted, label, attacked (the cosine between an image, clean and attacked), others (the mean cosine
        between it and the images of other classes, all clean).
    """
    other = labels[:, None] != labels
    of_others = (cosines(clean, clean) * other).sum(1) / other.sum(1)
    columns = {"attacked": cosines(clean, attacked).diagonal(), "others": of_others}
    rounded = {name: np.round(values, DIGITS) + 0.0 for name, values in columns.items()}
    return pa.table({"prompted": np.full(len(labels), prompted), "label": labels, **rounded})
