"""The imports of the source, read from its syntax: also those that a function makes when it is called."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


def closure(path: Path) -> set[Path]:
    """Return the files of stages/ that a file imports, directly or not, `__init__.py` left out."""
    found: set[Path] = set()
    pending = {path}
    while pending:
        pending = set().union(*map(imported_files, pending)) - found
        found |= pending
    return found


def imported_files(path: Path) -> set[Path]:
    """Return the files of stages/ that a file itself imports."""
    files = (ROOT / f"{name.replace('.', '/')}.py" for name in imported_names(path) if name.startswith("stages."))
    return {file for file in files if file.is_file()}


@cache
def imported_names(path: Path) -> set[str]:
    """Return all that a file imports, with dots: of `from a.b import c` both `a.b` and `a.b.c`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names
