"""Reading of the annotation files that data sets come with; whatever is wrong in one is an error that names it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from stages.datasets.names import composed


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns whatever a malformed file raises into a ValueError.

    Args:
        path: The file that is being read.

    Raises:
        ValueError: If anything is raised inside; the message names the file.
    """
    try:
        yield
    except Exception as error:  # json, scipy and unpacking raise many kinds for damaged files
        raise ValueError(f"{path}: malformed ({error})") from error


def read_lines(path: Path) -> list[str]:
    """Reads a list: its lines in NFC, without the empty ones.

    Args:
        path: A text file, UTF-8.

    Raises:
        ValueError: If the file is missing or no text; the message names it.
    """
    with naming(existing(path)):
        return [composed(line.strip()) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Args:
        path: The file, UTF-8.

    Raises:
        ValueError: If the file is missing or no JSON; the message names it.
    """
    with naming(existing(path)):
        return json.loads(path.read_text(encoding="utf-8"))


def read_mat(path: Path, name: str) -> np.ndarray:
    """Reads one array of a MATLAB file.

    Args:
        path: The file, up to version 7.
        name: Of the array.

    Returns:
        The array (N,), of numbers, strings or structs.

    Raises:
        ValueError: If the file is missing, no MATLAB file or without that array; the message names it.
    """
    with naming(existing(path)):
        return loadmat(path, variable_names=[name], squeeze_me=True)[name]


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        ValueError: If there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: missing; it is a part of the published data set")
    return path
