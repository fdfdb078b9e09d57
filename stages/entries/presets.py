"""Presets: the setting of a paper as changes to params.yaml, and the number that the paper reports."""

import json
import shutil
import subprocess
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from dvc.utils.hydra import apply_overrides
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML, YAMLError

from stages.report.wording import percent
from stages.runtime.params import Params, load_params
from stages.storage.layout import REPORTS

PRESETS = Path("presets")


class Published(BaseModel):
    """The robust accuracy that a paper reports, a fraction or None, and where."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    accuracy: float | None
    place: str


class Preset(BaseModel):
    """One paper's setting.

    Attributes:
        paper: Title, place and year.
        method: Group and name of the method whose numbers are shown.
        overrides: Changes to params.yaml, as after `dvc exp run -S`: the method, and attacks of training and test.
        their_attack: The threat that is the paper's attack.
        our_attack: The suite at the same eps.
        at_scale: Further changes: the paper's data sets and model.
        embedded: Further changes instead of these, to run on what is in the repository.
        published: What the paper reports under its attack.
        differs: How the preset differs from the paper, as far as known.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    paper: str
    method: str
    overrides: list[str]
    their_attack: str
    our_attack: str
    at_scale: list[str]
    embedded: list[str]
    published: Published
    differs: str

    def changes(self, *, embedded: bool) -> list[str]:
        """Return all changes to params.yaml."""
        return [*self.overrides, *(self.embedded if embedded else self.at_scale)]

    def check(self, params: Params) -> None:
        """Check that the method and both threats are still there.

        Raises:
            ValueError: If one of them is missing.
        """
        params.methods.find(*self.method.split("/"))
        threats = {*params.oblivious, *params.adaptive}
        for name in (self.their_attack, self.our_attack):
            if name not in threats:
                raise ValueError(f"threat {name!r}: the preset compares it; no change by -S may remove it")


def read_preset(name: str, folder: Path = PRESETS) -> Preset:
    """Read a preset.

    Raises:
        ValueError: If there is none of that name, or its file is not valid.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ValueError(f"preset {name!r}: there is none; there are: {', '.join(known)}")
    path = folder / f"{name}.yaml"
    try:
        return Preset.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except (ValidationError, YAMLError) as error:
        raise ValueError(f"{path}: no preset: {error}") from error


def changed_params(path: Path, changes: list[str]) -> Params:
    """Return the parameters of a file after changes, as `dvc exp run -S` would make them; the file stays as it is.

    Raises:
        ValueError: If a change is not valid, or its result is not.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copy(path, copy)
        try:
            apply_overrides(copy, changes)
        except ValueError as error:
            raise ValueError(f"-S: {error.__cause__ or error}") from error
        return load_params(copy)


def ours(preset: Preset, metrics: dict[str, Any], datasets: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return our numbers: under their attack and under the suite, for each data set.

    Args:
        preset: The preset.
        metrics: reports/metrics.json: data set -> threat -> method -> numbers.
        datasets: Names of the data sets.

    Returns:
        Accuracy, Wilson interval and number of images by "their attack" or "suite" and data set. Where several threats
        have the suite's eps, such as their attack, "suite" is the pointwise worst of all of them.
    """
    _, method = preset.method.split("/")
    return {
        title: {name: numbers_of(metrics[name], threat, method) for name in datasets}
        for title, threat in {"their attack": preset.their_attack, "suite": preset.our_attack}.items()
    }


def compared(preset: Preset, metrics: dict[str, Any], datasets: list[str]) -> pd.DataFrame:
    """Return three robust accuracies in percent for each data set, and their means.

    Args:
        preset: The preset.
        metrics: reports/metrics.json: data set -> threat -> method -> numbers.
        datasets: Names of the data sets.

    Returns:
        Columns: theirs (in the last line alone), ours under their attack, ours under the suite, as `ours` returns them.
        Ours have a Wilson interval and the number of images; the means have none.
    """
    found = {f"ours, {title}": lines for title, lines in ours(preset, metrics, datasets).items()}
    table = pd.DataFrame({title: {name: cell(line) for name, line in lines.items()} for title, lines in found.items()})
    table.loc["mean"] = [percent(mean(line["accuracy"] for line in lines.values())) for lines in found.values()]
    stated = preset.published.accuracy
    table.insert(0, "theirs", [*[""] * len(datasets), "unknown" if stated is None else percent(stated)])
    return table


def numbers_of(metrics: dict[str, Any], threat: str, method: str) -> dict[str, Any]:
    """Return the numbers of a threat; in place of the suite's those of the pointwise worst of its eps, if any."""
    eps = threat.rpartition("_eps")[2]
    if threat.startswith("suite_") and f"worst_eps{eps}" in metrics:
        threat = f"worst_eps{eps}"
    return metrics[threat][method]


def cell(line: dict[str, Any]) -> str:
    """Return an accuracy with its interval and its number of images."""
    return f"{percent(line['accuracy'])} ({percent(line['low'])}-{percent(line['high'])}, n = {line['n']})"


def read_metrics(experiment: str) -> dict[str, Any]:
    """Return what `plot` has written in an experiment."""
    ref = git("for-each-ref", f"refs/exps/*/*/{experiment}", "--format=%(refname)").strip()
    return json.loads(git("show", f"{ref}:{REPORTS}/metrics.json"))


def git(*words: str) -> str:
    """Return what git prints.

    Raises:
        ValueError: If git refuses, as where there is no repository.
    """
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)  # noqa: S603, S607 - our words
    if done.returncode:
        raise ValueError(f"an entry or a preset is of a commit, but git says: {done.stderr.strip()}")
    return done.stdout.strip()
