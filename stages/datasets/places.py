"""Which files somebody means who names a file or a folder."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_at(place: Path) -> Iterator[Path]:
    """A file as it is; of a folder all files at any depth, sorted, without hidden ones and links to folders.

    Raises:
        ValueError: If there is nothing, or a folder cannot be read.
    """
    if not place.is_dir():
        if not os.path.lexists(place):
            raise ValueError(f"{place}: missing; an image file or a folder of them is allowed")
        yield place
        return

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from error

    count = 0
    for top, folders, names in os.walk(place, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            count += 1
            yield Path(top, name)
    if not count:
        raise ValueError(f"{place}: no files in this folder; hidden ones do not count")
