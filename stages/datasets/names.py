"""Names in one Unicode form (NFC): a letter and its accent may be one character, or two, as macOS writes file names."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path


def composed(name: str) -> str:
    """Return a name in NFC, the form in which names are compared."""
    return unicodedata.normalize("NFC", name)


def by_composed(names: Iterable[str], place: Path) -> dict[str, str]:
    """Map the NFC form of each name to the name itself, sorted.

    Args:
        names: As they stand in `place`, such as the names of files in a folder.
        place: The folder or file; error messages name it.

    Raises:
        ValueError: If two of the names differ in their Unicode form alone.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(composed(name), name)
        if other != name:
            raise ValueError(f"{place}: {other!a} and {name!a} are one name in two Unicode forms; rename or remove one")
    return dict(sorted(found.items()))
