"""Experiments of `dvc exp run`, found by name, and what they made."""

import subprocess
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.entries.pack import pack
from stages.entries.presets import git
from stages.runtime.params import load_params
from stages.submit import everything


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


def pack_entries(out: Path, *, images: int, group: str | None = None) -> None:
    """Pack every method of the experiment that is checked out, or of one of its groups, as entries.

    The entries name the commit that the experiment started from: its code and, but for the parameters that the record
    states, its parameters. They hold at most so many of the images under adaptive attack, to stay small.
    """
    commit, date = git("log", "-1", "--format=%H %cs", "FETCH_HEAD^").split()
    made_at = {"commit": commit, "date": date}
    params = load_params()
    for place, entry in everything(params).items():
        if group in (None, place[2]):
            record = pack(place, out / entry.name, params, made_at=made_at, preset=None, most=images)
            print(f"wrote {out / entry.name}, suite {record['suite']}, n = {record['data']['n']}", flush=True)
