"""Annotation files of published data sets; an error in one names the file."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stages.storage.card import composed

T = TypeVar("T")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into a ValueError that names the file."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; it is a part of the published data set")
    try:
        yield
    except Exception as error:  # json, scipy and unpacking raise many kinds for damaged files
        raise ValueError(f"{path}: malformed ({error})") from error


def read_lines(path: Path, parse: Callable[[str], T]) -> list[T]:
    """Parse each line, stripped and in NFC, that is not empty."""
    with naming(path):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [parse(composed(line.strip())) for line in lines if line.strip()]


def read_json(path: Path) -> Any:
    with naming(path):
        return json.loads(path.read_text(encoding="utf-8-sig"))


def read_mat(path: Path, name: str) -> np.ndarray:
    """Read an array (N,) of numbers, strings or structs from a MATLAB file (up to version 7)."""
    from scipy.io import loadmat  # two data sets alone need it

    with naming(path):
        return loadmat(path, variable_names=[name], squeeze_me=True)[name]
