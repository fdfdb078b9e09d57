"""What made an artefact: a flat dictionary that travels in the artefact's own metadata."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

Provenance = dict[str, Any]
LIBRARIES = ("torch", "open_clip_torch", "numpy", "pyarrow")


def provenance(**made_by: Any) -> Provenance:
    """States what made an artefact, and with which library versions."""
    return {**made_by, "versions": {library: version(library) for library in LIBRARIES}}


def require(found: Provenance, path: Path, **expected: Any) -> None:
    """Refuses an artefact that something else made.

    Raises:
        ValueError: If a stated key differs; the message names the file, the key and both values.
    """
    for key, value in expected.items():
        if found.get(key) != value:
            raise ValueError(
                f"{path}: made with {key} = {found.get(key)}, but this run has {key} = {value}. "
                "It belongs to another run; make it again with `dvc repro`."
            )
