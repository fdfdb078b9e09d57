"""Experiments of `dvc exp run`, found by name, and what they made."""

import subprocess
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.entries.presets import git


def found(name: str) -> str | None:
    """Return the git reference of an experiment, None if there is none of this name."""
    return git("for-each-ref", f"refs/exps/*/*/{name}", "--format=%(refname)").strip() or None


@contextmanager
def checked_out(ref: str) -> Iterator[None]:
    """Work in a clone with the parameters and outputs of an experiment, in which no stage is run."""
    source = Path.cwd()
    cache = subprocess.check_output(["dvc", "cache", "dir"], text=True).strip()
    with TemporaryDirectory() as folder, chdir(folder):
        git("clone", "--quiet", "--shared", "--no-checkout", str(source), ".")
        git("fetch", "--quiet", "origin", ref)
        git("checkout", "--quiet", "--detach", "FETCH_HEAD")
        subprocess.run(["dvc", "cache", "dir", "--quiet", "--local", cache], check=True)
        subprocess.run(["dvc", "checkout"], check=True, stdout=subprocess.DEVNULL)
        yield
