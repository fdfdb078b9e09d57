"""Reads the imports of the source, as text."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imported_names(path: Path) -> set[str]:
    """All that a file imports, with dots: of `from a.b import c` both `a.b` and `a.b.c`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


def imported_libraries(path: Path) -> set[str]:
    """The top-level packages that a file imports, stages left out."""
    return {name.split(".")[0] for name in imported_names(path)} - {"stages"}


def imported_files(path: Path) -> set[Path]:
    """The files of stages/ that a file imports by itself, `__init__.py` left out."""
    names = (name for name in imported_names(path) if name.startswith("stages."))
    return {file for name in names if (file := ROOT / Path(*name.split(".")).with_suffix(".py")).is_file()}


def closure(path: Path) -> set[Path]:
    """The files of stages/ that a file imports, directly or not."""
    found: set[Path] = set()
    pending = {path}
    while pending:
        found |= (new := set().union(*map(imported_files, pending)) - found)
        pending = new
    return found
