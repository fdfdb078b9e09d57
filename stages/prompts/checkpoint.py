"""State of an interrupted tuning, saved after every epoch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.storage.files import whole
from stages.storage.tensors import load_arrays, save_arrays

Arrays = dict[str, np.ndarray]
ENTRY = "progress"
CURVES = ("loss", "accuracy")  # arrays of a file that are no state


class Progress(NamedTuple):
    """All that tuning needs to go on behind an epoch as if it had never stopped.

    Attributes:
        loss: Mean loss of each epoch so far, over its images as they were met: a number, or a list (S,) where S tuning
            seeds are tuned side by side.
        accuracy: Accuracy of each epoch so far, on the same images.
        arrays: Parameters, and the states of optimiser and generators, by their names.
    """

    loss: list
    accuracy: list
    arrays: Arrays


def save_progress(path: Path, reached: Progress) -> None:
    """Write where tuning stands; replace what stood there."""
    curves = {name: np.array(getattr(reached, name)) for name in CURVES}
    with whole(path) as temporary:
        save_arrays(temporary, {**reached.arrays, **curves}, entry=ENTRY, about={})


def load_progress(path: Path) -> Progress | None:
    """Read where tuning stood; None if it has not begun.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.is_file():
        return None
    arrays, _ = load_arrays(path, entry=ENTRY)
    loss, accuracy = (arrays.pop(name).tolist() for name in CURVES)
    return Progress(loss, accuracy, arrays)
