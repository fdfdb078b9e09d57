"""Files that a folder holds: what counts as one, for raw data sets and for images that are classified; and their names.

Names are compared in one Unicode form (NFC): a letter and its accent may be one character, or two, as on macOS.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.storage.card import composed

LEFTOVERS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx")  # of Windows and macOS; in lower case
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")  # in lower case; all that the published data sets use
MOST_NAMED = 20  # files in one message


def passed_over(name: str) -> bool:
    """Return whether a file or folder counts as none: hidden, or one that Windows or macOS leaves beside images."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def entries_of(folder: Path, faults: list[str] | None = None) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that count, sorted by name.

    A link to a folder counts as a fault: DVC does not look behind it, so no change there would be noticed.

    Args:
        folder: The folder.
        faults: Where to add a message for each link to a folder, which is then left out of the entries.

    Raises:
        ValueError: If the folder cannot be read, or, without `faults`, holds a link to a folder.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not passed_over(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read ({error.strerror})") from error
    linked = [entry for entry in entries if entry.is_symlink() and Path(entry).is_dir()]  # a circle is no folder
    told = [
        f"{entry.path}: leads out of its folder to {os.path.realpath(entry)}; DVC does not look behind a link to a "
        "folder, so no change there would be noticed: put the folder itself there, or make the outermost folder "
        "(data/raw/<name>) the link"
        for entry in linked
    ]
    if faults is None and told:
        among = f"\n  one of {len(told)} such links in {folder}" if told[1:] else ""
        raise ValueError(told[0] + among)
    if faults is not None:
        faults += told
    return [entry for entry in entries if entry not in linked]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder at any depth that count, those of each folder sorted, before those of its folders."""
    entries = entries_of(folder)
    yield from (Path(entry.path) for entry in entries if not entry.is_dir(follow_symlinks=False))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path))


def names_passed_over(folder: Path) -> list[str]:
    """Return the files and folders below a folder that count as none, relative to it, sorted."""
    names = []
    for top, folders, files in os.walk(folder):
        names += [Path(top, name).relative_to(folder).as_posix() for name in (*folders, *files) if passed_over(name)]
        folders[:] = [name for name in folders if not passed_over(name)]
    return sorted(names)


def files_at(place: Path) -> Iterator[Path]:
    """Yield a file as it is; of a folder the files below it, of which there has to be one."""
    if not place.is_dir():
        if not os.path.lexists(place):
            raise ValueError(f"{place}: missing; an image file or a folder of them is allowed")
        yield place
        return
    files = files_below(place)
    if not (first := next(files, None)):
        raise ValueError(f"{place}: no files in this folder; hidden ones and what systems leave behind do not count")
    yield first
    yield from files


def place(raw: Path, *candidates: str) -> Path:
    """Return the first folder that is there: images lie elsewhere after a download than after CoOp's instructions."""
    for candidate in candidates:
        if (raw / candidate).is_dir():
            return raw / candidate
    also = "".join(f", nor is there {candidate}" for candidate in candidates[1:])
    raise ValueError(f"{raw / candidates[0]}: missing{also}; put the images there, or empty {raw} to fetch them")


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted."""
    return [entry.name for entry in entries_of(folder) if entry.is_dir(follow_symlinks=False)]


def images_in(folder: Path) -> list[str]:
    """Return the names of the image files in the folder of a class, sorted; there has to be one."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: missing; each class has a folder")
    if not (names := [entry.name for entry in entries_of(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES)]):
        raise ValueError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return names


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Add the message of a ValueError inside the block to the faults, so that one run names all of them."""
    try:
        yield
    except ValueError as error:
        faults.append(str(error))


def shortened(lines: list[str]) -> str:
    """Return lines below each other, the first MOST_NAMED of them and how many there are more."""
    more = len(lines) - MOST_NAMED
    return "\n".join(f"  {line}" for line in lines[:MOST_NAMED]) + (f"\n  and {more} more" if more > 0 else "")


def by_composed(names: Iterable[str], place: Path) -> dict[str, str]:
    """Map the NFC form of each name in a folder or file to the name itself, sorted; refuse two names with one form."""
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(composed(name), name)
        if other != name:
            raise ValueError(f"{place}: {other!a} and {name!a} are one name in two Unicode forms; rename or remove one")
    return dict(sorted(found.items()))
