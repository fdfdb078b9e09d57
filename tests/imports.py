"""Reads the imports of the source, as text."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imported_files(path: Path) -> set[Path]:
    """The files of stages/ that a file imports by itself, `__init__.py` left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        candidates = (ROOT / Path(*name.split(".")).with_suffix(".py") for name in names if name.startswith("stages."))
        found.update(candidate for candidate in candidates if candidate.is_file())
    return found


def closure(path: Path) -> set[Path]:
    """The files of stages/ that a file imports, directly or not."""
    found: set[Path] = set()
    pending = {path}
    while pending:
        found |= (new := set().union(*map(imported_files, pending)) - found)
        pending = new
    return found
