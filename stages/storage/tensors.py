"""Named arrays and what there is to say of them, as one safetensors file with its checksum."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from stages.storage.checksum import canonical, checksum_of_arrays, reading, require_equal

CHECKSUM = "sha256"  # inside the one entry of metadata, because safetensors writes several in no fixed order


def save_arrays(path: Path, arrays: dict[str, np.ndarray], *, entry: str, about: dict[str, Any]) -> None:
    """Write arrays by name; all that is no array, `about`, goes as JSON under the key `entry` of the metadata."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = canonical({**about, CHECKSUM: checksum_of_arrays(arrays, about)})
    path.write_bytes(save(arrays, {entry: text}))


def checksum_of(path: Path, *, entry: str = "prompts") -> str:
    """Return the checksum that such a file states; whoever reads the file compares it."""
    with reading(path), safe_open(path, "numpy") as file:
        return json.loads(file.metadata()[entry])[CHECKSUM]


def load_arrays(path: Path, *, entry: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save_arrays` wrote; a ValueError names a file that is missing, damaged or no such file."""
    with reading(path), safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        about = json.loads(file.metadata()[entry])
        stated = about.pop(CHECKSUM)
        found = checksum_of_arrays(arrays, about)
    require_equal(path, found, stated)
    return arrays, about
