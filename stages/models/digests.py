"""Digests of files, and a first look at whether weights are what they are called."""

import hashlib
from pathlib import Path

WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
NOT_WEIGHTS = {b"version https://git-lfs": "a Git LFS pointer (git lfs pull)", b"<!doctype": "HTML", b"<html": "HTML"}


def listing_digest(files: list[Path]) -> str:
    """sha256 of what `sha256sum` prints for files."""
    listing = "".join(f"{file_digest(path)}  {path.name}\n" for path in sorted(files))
    return hashlib.sha256(listing.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        ValueError: If it should hold weights and holds something else, by its first bytes.
    """
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
        for start, kind in NOT_WEIGHTS.items():
            if path.suffix in WEIGHTS_SUFFIXES and head.startswith(start):
                raise ValueError(f"model: {path} holds no weights, but {kind}")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
