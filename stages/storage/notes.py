"""Small facts as one JSON file with its checksum, for people to read and for stages to trust."""

import json
from pathlib import Path
from typing import Any

from stages.storage.checksum import REMEDY, checksum_of_json, require_equal, require_file

CHECKSUM = "checksum"  # of all other keys


def write_note(path: Path, note: dict[str, Any]) -> None:
    """Write a dictionary."""
    assert CHECKSUM not in note
    text = json.dumps({**note, CHECKSUM: checksum_of_json(note)}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_note(path: Path) -> dict[str, Any]:
    """Read what `write_note` wrote.

    Raises:
        ValueError: If the file is missing, damaged or no such file; the message names it.
    """
    require_file(path)
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        stated = note.pop(CHECKSUM)
        found = checksum_of_json(note)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, or of another kind ({error!r}); {REMEDY}") from error
    require_equal(path, found, stated)
    return note
