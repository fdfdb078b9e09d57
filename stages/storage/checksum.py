"""A digest of a whole file inside the file itself: no bit of it can change unnoticed, whatever its format.

The seal is the sha256 of the file with zeros in the seal's own place, 64 hexadecimal digits behind a mark that the
format has there. Any reader of the format takes it for one more entry of metadata.
"""

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLANK = b"0" * 64
REMEDY = "delete it and run `dvc repro`"


def write_checksum(path: Path, mark: bytes) -> None:
    """Puts the digest of a file behind its last mark, where BLANK stands, or an older seal."""
    with mapped(path) as content:
        place = place_of(content, mark, path)
        digest = digest_around(content, place)
    with path.open("rb+") as file:
        file.seek(place)
        file.write(digest.encode())


def verify_checksum(path: Path, mark: bytes) -> None:
    """Compares a file with its seal, before anything else reads it.

    Raises:
        ValueError: If the file is missing, empty, without a seal, or not as it was sealed; the message names it.
    """
    with mapped(path) as content:
        place = place_of(content, mark, path)
        stated, found = stated_at(content, place), digest_around(content, place)
    if stated != found:
        raise ValueError(f"{path}: damaged, its sha256 is {found}, but {stated!r} is expected; {REMEDY}")


def read_checksum(path: Path, mark: bytes) -> str:
    """What a file says its digest is; whoever reads the file will check it.

    Raises:
        ValueError: If the file is missing, empty or without a seal; the message names it.
    """
    with mapped(path) as content:
        return stated_at(content, place_of(content, mark, path))


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The bytes of a file, without reading all of them."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; `dvc repro` makes it")
    if not path.stat().st_size:
        raise ValueError(f"{path}: damaged, it is empty; {REMEDY}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def place_of(content: mmap.mmap, mark: bytes, path: Path) -> int:
    """Where the seal begins."""
    found = content.rfind(mark)
    if found < 0 or found + len(mark) + len(BLANK) > len(content):
        raise ValueError(f"{path}: damaged or no artefact of this project, it has no seal; {REMEDY}")
    return found + len(mark)


def stated_at(content: mmap.mmap, place: int) -> str:
    """What stands in the seal's place."""
    return content[place : place + len(BLANK)].decode(errors="replace")


def digest_around(content: mmap.mmap, place: int) -> str:
    """The sha256 of a file with zeros in the seal's place."""
    digest = hashlib.sha256()
    with memoryview(content) as view, view[:place] as before, view[place + len(BLANK) :] as behind:
        for part in (before, BLANK, behind):
            digest.update(part)
    return digest.hexdigest()
