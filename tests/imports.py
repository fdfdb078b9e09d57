"""The imports of source files, read without running them."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imported_names(path: Path) -> set[str]:
    """Return all that a file imports, with dots: of `from a.b import c` both `a.b` and `a.b.c`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


def imported_libraries(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, stages left out."""
    return {name.split(".")[0] for name in imported_names(path)} - {"stages"}


def closure(path: Path) -> set[Path]:
    """Return the files of stages/ that a file imports, directly or not."""
    found: set[Path] = set()
    pending = {path}
    while pending:
        names = set().union(*(imported_names(one) for one in pending))
        files = {ROOT / Path(*name.split(".")).with_suffix(".py") for name in names if name.startswith("stages.")}
        packages = {ROOT / Path(*name.split(".")) / "__init__.py" for name in names if name.startswith("stages.")}
        new = {file for file in files | packages if file.is_file()} - found
        found |= new
        pending = new
    return found
