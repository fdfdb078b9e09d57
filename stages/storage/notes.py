"""Small facts as one sealed JSON file, for people to read and for stages to trust."""

import json
from pathlib import Path
from typing import Any

from stages.storage.checksum import BLANK, REMEDY, verify_checksum, write_checksum

MARK = b'"seal": "'


def write_note(path: Path, note: dict[str, Any]) -> None:
    """Writes a dictionary."""
    text = json.dumps({**note, "seal": BLANK.decode()}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    write_checksum(path, MARK)


def read_note(path: Path) -> dict[str, Any]:
    """Reads what `write_note` wrote.

    Raises:
        ValueError: If the file is missing, damaged or no such file; the message names it.
    """
    verify_checksum(path, MARK)
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        del note["seal"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); {REMEDY}") from error
    return note
