"""Small facts as one JSON file with its checksum, for people to read and for stages to trust."""

import json
from pathlib import Path
from typing import Any

from stages.storage.checksum import checksum_of_json, reading, require_equal

CHECKSUM = "checksum"  # of all other keys


def write_note(path: Path, note: dict[str, Any]) -> None:
    assert CHECKSUM not in note
    text = json.dumps({**note, CHECKSUM: checksum_of_json(note)}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_note(path: Path) -> dict[str, Any]:
    """Read what `write_note` wrote; a ValueError names a file that is missing, damaged or no such file."""
    with reading(path):
        note = json.loads(path.read_text(encoding="utf-8"))
        stated = note.pop(CHECKSUM)
        found = checksum_of_json(note)
    require_equal(path, found, stated)
    return note
