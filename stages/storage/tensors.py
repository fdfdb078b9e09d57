"""Named arrays and what there is to say of them, as one sealed safetensors file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stages.storage.checksum import BLANK, REMEDY, read_checksum, verify_checksum, write_checksum

MARK = rb"\"seal\": \""  # inside one entry of metadata, because safetensors writes several in no fixed order
BROKEN = (SafetensorError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError)


def save_arrays(path: Path, arrays: dict[str, np.ndarray], *, entry: str, about: dict[str, Any]) -> None:
    """Writes arrays; everything else goes as JSON under one key of the metadata.

    Args:
        path: The file.
        arrays: By name.
        entry: That key.
        about: All that is no array.
    """
    text = json.dumps({**about, "seal": BLANK.decode()}, sort_keys=True, ensure_ascii=False)
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {entry: text}))
    write_checksum(path, MARK)


def checksum_of(path: Path) -> str:
    """The digest of such a file, as it says itself."""
    return read_checksum(path, MARK)


def load_arrays(path: Path, *, entry: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `save_arrays` wrote.

    Raises:
        ValueError: If the file is missing, damaged or no such file; the message names it.
    """
    verify_checksum(path, MARK)
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
            about = json.loads((file.metadata() or {})[entry])
            del about["seal"]
    except BROKEN as error:
        raise ValueError(f"{path}: damaged or of another kind ({error}); {REMEDY}") from error
    return arrays, about
