"""Digests of files, and a first look at whether weights are what they are called."""

import hashlib
from itertools import groupby
from pathlib import Path
from shlex import quote

WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
NOT_WEIGHTS = {b"version https://git-lfs": "a Git LFS pointer (git lfs pull)", b"<!doctype": "HTML", b"<html": "HTML"}


def listing_digest(files: list[Path]) -> str:
    """sha256 of what `sha256sum` prints for files, by name and without their folders."""
    listing = "".join(f"{file_digest(path)}  {path.name}\n" for path in sorted(files, key=lambda path: path.name))
    return hashlib.sha256(listing.encode()).hexdigest()


def listing_command(files: list[Path]) -> str:
    """The shell command that prints `listing_digest`."""
    groups = groupby(sorted(files, key=lambda path: path.name), key=lambda path: path.parent.resolve())
    lists = [
        f"cd {quote(str(folder))} && sha256sum {' '.join(quote(path.name) for path in group)}"
        for folder, group in groups
    ]
    together = lists[0] if len(lists) == 1 else "{ " + " ".join(f"({each});" for each in lists) + " }"
    return f"{together} | sha256sum"


def file_digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        ValueError: If it cannot be read, or should hold weights and holds something else, by its first bytes.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ValueError(f"model: {path} cannot be read ({error.strerror}); a readable file is allowed") from error
    with file:
        head = file.read(64).lstrip().lower()
        for start, kind in NOT_WEIGHTS.items():
            if path.suffix in WEIGHTS_SUFFIXES and head.startswith(start):
                raise ValueError(f"model: {path} holds no weights, but {kind}")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
