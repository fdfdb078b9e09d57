"""code: the source -> data/code/<script>.json, for each script of a stage the digests of the code behind its results.

A stage depends on the file of its script: it runs again when the script or a file that it imports, directly or not, has
changed, and for no other change of code.
"""

import ast
from functools import cache
from hashlib import sha256
from pathlib import Path

from stages.runtime.cli import command
from stages.storage.files import replacing
from stages.storage.notes import write_note

ROOT = Path(__file__).parent.parent
STAGES = ROOT / "stages"
CODE = Path("data/code")
CHANGES_NOTHING = {
    STAGES / name for name in ("runtime/params.py", "runtime/cli.py", "runtime/cores.py")
}  # values are keys; the rest changes no result


def main() -> str:
    """Writes the digests of the files of every script; the source is read as text, not imported."""
    found = {script: digests_of(script) for script in scripts()}
    with replacing(CODE) as folder:
        folder.mkdir()
        for script, digests in found.items():
            write_note(folder / f"{script.stem}.json", digests)
    files = set().union(*found.values())
    return f"wrote {CODE}, {len(found)} scripts that run {len(files)} files"


def scripts() -> list[Path]:
    """The scripts of stages, but for this one."""
    files = sorted(set(STAGES.glob("[!.]*.py")) - {STAGES / "code.py"})
    return [path for path in files if "    command(main)" in path.read_text(encoding="utf-8")]


def digests_of(script: Path) -> dict[str, str]:
    """The sha256 of a script and of each file that it imports, by path from the root; CHANGES_NOTHING left out."""
    files = sorted({script, *closure(script)} - CHANGES_NOTHING)
    return {path.relative_to(ROOT).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def closure(path: Path) -> set[Path]:
    """The files of stages/ that a file imports, directly or not."""
    found: set[Path] = set()
    pending = {path}
    while pending:
        found |= (new := set().union(*map(imported_files, pending)) - found)
        pending = new
    return found


def imported_files(path: Path) -> set[Path]:
    """The files of stages/ that a file imports by itself, `__init__.py` left out."""
    names = (name for name in imported_names(path) if name.startswith("stages."))
    return {file for name in names if (file := ROOT / Path(*name.split(".")).with_suffix(".py")).is_file()}


@cache
def imported_names(path: Path) -> set[str]:
    """All that a file imports, with dots: of `from a.b import c` both `a.b` and `a.b.c`; of a broken one nothing."""
    names = set()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:  # whoever imports it will say so
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: line {node.lineno}: a relative import; write `from stages...`")
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


if __name__ == "__main__":
    command(main)
