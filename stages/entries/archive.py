"""Entries that come as an archive: unpacked into a temporary folder, without trusting a name in it."""

import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from stages.entries.record import ENTRY

LARGEST, MOST = 2_000_000_000, 10_000  # bytes and files, unpacked
NAME = re.compile(r"(?!\.)[A-Za-z0-9_.+-]{1,100}")  # of a file or a folder
DEEPEST = 5
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError,
           RuntimeError)  # fmt: skip


class Member(NamedTuple):
    """A file in an archive: its name, its size as stated, and how to open it."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the folder of an entry: the path itself, or what a .zip, .tar.gz or .tgz holds, which is then removed.

    Raises:
        ValueError: If the archive is damaged, has a name that leads elsewhere, links, or holds no entry.
    """
    if path.is_dir():
        yield path
        return
    with TemporaryDirectory() as made:
        folder = Path(made)
        try:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    unpack(members_of_zip(archive), folder)
            else:
                with tarfile.open(path) as archive:
                    unpack(members_of_tar(archive), folder)
        except DAMAGED as error:
            about = str(error).partition(":\n")[0]  # tarfile lists the formats that it has tried
            raise ValueError(
                f"{path}: damaged, or no archive of an entry ({about}); a folder, .zip or .tar.gz is"
            ) from error
        found = [place.parent for place in (folder / ENTRY, *sorted(folder.glob(f"*/{ENTRY}"))) if place.is_file()]
        if len(found) != 1:
            raise ValueError(f"{path}: {len(found)} files {ENTRY} in it; one, at its top or in one folder, is needed")
        yield found[0]


def members_of_zip(archive: zipfile.ZipFile) -> list[Member]:
    """Return the files of a zip; refuse links."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000):
            raise ValueError(f"{info.filename!r} in the archive is no regular file")
    return [Member(info.filename, info.file_size, partial(archive.open, info)) for info in infos]


def members_of_tar(archive: tarfile.TarFile) -> list[Member]:
    """Return the files of a tar; refuse links and devices."""
    infos = [info for info in archive if not info.isdir()]
    for info in infos:
        if not info.isreg():
            raise ValueError(f"{info.name!r} in the archive is no regular file")
    return [Member(info.name.removeprefix("./"), info.size, partial(archive.extractfile, info)) for info in infos]


def unpack(members: list[Member], folder: Path) -> None:
    """Write the files of an archive below a folder after checking all names and sizes."""
    if len(members) > MOST:
        raise ValueError(f"the archive holds {len(members)} files; at most {MOST} are allowed")
    names = [member.name for member in members]
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) > DEEPEST or not all(NAME.fullmatch(part) for part in parts) or "/".join(parts) != name:
            raise ValueError(f"{name!r} in the archive: a name like images/eps4/00000.parquet is allowed")
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError("a name is in the archive twice")
    if (size := sum(member.size for member in members)) > LARGEST:
        raise ValueError(f"the archive holds {size} bytes; at most {LARGEST} are allowed")
    for member in members:
        place, source = folder / member.name, member.open()
        place.parent.mkdir(parents=True, exist_ok=True)
        assert source is not None  # it is a regular file
        with source, place.open("wb") as target:
            shutil.copyfileobj(source, target)
