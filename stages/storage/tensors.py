"""Named arrays and what there is to say of them, as one safetensors file with its checksum."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stages.storage.checksum import REMEDY, canonical, checksum_of_arrays, require_equal, require_file

CHECKSUM = "sha256"  # inside the one entry of metadata, because safetensors writes several in no fixed order
BROKEN = (SafetensorError, KeyError, TypeError, AttributeError, ValueError, OSError, OverflowError)


def save_arrays(path: Path, arrays: dict[str, np.ndarray], *, entry: str, about: dict[str, Any]) -> None:
    """Write arrays; everything else goes as JSON under one key of the metadata.

    Args:
        path: The file.
        arrays: By name.
        entry: That key.
        about: All that is no array.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = canonical({**about, CHECKSUM: checksum_of_arrays(arrays, about)})
    path.write_bytes(save(arrays, {entry: text}))


def checksum_of(path: Path, *, entry: str = "prompts") -> str:
    """Return the checksum that such a file states; whoever reads the file compares it."""
    with opened(path) as file:
        return json.loads(file.metadata()[entry])[CHECKSUM]


def load_arrays(path: Path, *, entry: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save_arrays` wrote.

    Raises:
        ValueError: If the file is missing, damaged or no such file; the message names it.
    """
    with opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        about = json.loads(file.metadata()[entry])
        stated = about.pop(CHECKSUM)
        found = checksum_of_arrays(arrays, about)
    require_equal(path, found, stated)
    return arrays, about


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file so that whatever is wrong with it is an error that names the file."""
    require_file(path)
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except BROKEN as error:
        raise ValueError(f"{path}: damaged, or of another kind ({error!r}); {REMEDY}") from error
