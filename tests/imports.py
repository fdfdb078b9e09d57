"""Reads the imports of the source, as text."""

from pathlib import Path

from stages.code import imported_names

ROOT = Path(__file__).parent.parent


def imported_libraries(path: Path) -> set[str]:
    """The top-level packages that a file imports, stages left out."""
    return {name.split(".")[0] for name in imported_names(path)} - {"stages"}
