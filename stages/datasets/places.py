"""Files that a folder holds: the one rule of what counts, for raw data sets and for folders that are classified."""

import os
from collections.abc import Iterator
from pathlib import Path

LEFTOVERS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx")  # of Windows and macOS; in lower case
MOST_NAMED = 20  # files in one message


def passed_over(name: str) -> bool:
    """Whether a file or folder counts as none: it is hidden, or one that Windows or macOS leaves beside images."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder that count, sorted by name.

    Raises:
        ValueError: If it cannot be read, or one of them is a link to a folder: DVC does not look behind such a link,
            so no change there would be noticed.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not passed_over(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read ({error.strerror})") from error
    linked = [entry.path for entry in entries if entry.is_symlink() and Path(entry.path).is_dir()]
    if linked:
        among = f" (one of {len(linked)} such links in {folder})" if linked[1:] else ""
        raise ValueError(
            f"{linked[0]}: leads out of its folder to {os.path.realpath(linked[0])}{among}; DVC does not look behind a "
            "link to a folder, so no change there would be noticed: put the folder itself there, or make the outermost "
            "folder (data/raw/<name>) the link"
        )
    return entries


def files_below(folder: Path) -> Iterator[Path]:
    """Files in a folder at any depth that count, those of each folder sorted, before those of its folders.

    Raises:
        ValueError: As `entries_of` does.
    """
    folders = []
    for entry in entries_of(folder):
        if entry.is_dir():
            folders.append(Path(entry.path))
        else:
            yield Path(entry.path)
    for inner in folders:
        yield from files_below(inner)


def names_passed_over(folder: Path) -> list[str]:
    """Files and folders below a folder that count as none, relative to it, sorted."""
    names = []
    for top, folders, files in os.walk(folder):
        names += [Path(top, name).relative_to(folder).as_posix() for name in (*folders, *files) if passed_over(name)]
        folders[:] = [name for name in folders if not passed_over(name)]
    return sorted(names)


def files_at(place: Path) -> Iterator[Path]:
    """A file as it is; of a folder the files below it.

    Raises:
        ValueError: If there is nothing, a folder cannot be read, or one below is a link.
    """
    if not place.is_dir():
        if not os.path.lexists(place):
            raise ValueError(f"{place}: missing; an image file or a folder of them is allowed")
        yield place
        return
    count = 0
    for count, path in enumerate(files_below(place), start=1):  # noqa: B007 - the count is asked for behind the loop
        yield path
    if not count:
        raise ValueError(f"{place}: no files in this folder; hidden ones and what systems leave behind do not count")


def shortened(lines: list[str]) -> str:
    """Lines below each other, the first MOST_NAMED of them and how many there are more."""
    more = len(lines) - MOST_NAMED
    return "\n".join(f"  {line}" for line in lines[:MOST_NAMED]) + (f"\n  and {more} more" if more > 0 else "")
