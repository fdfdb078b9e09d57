"""State of an interrupted tuning, saved after every epoch."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from stages.prompts.train import Epoch, Progress
from stages.storage.files import whole
from stages.storage.tensors import load_arrays, save_arrays

ENTRY = "progress"


def save_progress(path: Path, progress: Progress) -> None:
    """Write the state of tuning, in place of an earlier one."""
    _, loss, accuracy = (np.array(values) for values in zip(*map(astuple, progress.curve), strict=True))  # (epochs, S)
    tensors = (progress.parameters, progress.momentum, progress.generators)
    parameters, momentum, generators = (tensor.cpu().numpy() for tensor in tensors)
    with whole(path) as temporary:
        save_arrays(
            temporary,
            {
                "parameters": parameters,
                "momentum": momentum,
                "generators": generators,
                "loss": loss,
                "accuracy": accuracy,
            },
            entry=ENTRY,
            about={},
        )


def load_progress(path: Path) -> Progress | None:
    """Read the state of tuning; None if it has not begun.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.is_file():
        return None
    found, _ = load_arrays(path, entry=ENTRY)
    lines = zip(found["loss"].tolist(), found["accuracy"].tolist(), strict=True)
    curve = [Epoch(index, *line) for index, line in enumerate(lines, start=1)]
    return Progress(curve, *(torch.tensor(found[name]) for name in ("parameters", "momentum", "generators")))
