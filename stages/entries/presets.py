"""Presets: the setting of a paper as changes to params.yaml, and the number that the paper reports."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML, YAMLError

from stages.report.wording import percent
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


def compared(preset: Preset, metrics: dict[str, Any], datasets: list[str]) -> pd.DataFrame:
    """Return three robust accuracies in percent for each data set, and their means.

    Args:
        preset: The preset.
        metrics: reports/metrics.json: data set -> threat -> method -> numbers.
        datasets: Names of the data sets.

    Returns:
        Columns: theirs (in the last line alone), ours under their attack, ours under the suite; where an oblivious
        threat has the suite's eps, the last is the pointwise worst of both.
    """
    _, method = preset.method.split("/")
    columns = {"ours, their attack": preset.their_attack, "ours, suite": preset.our_attack}
    table = pd.DataFrame(
        {
            title: {name: accuracy_of(metrics[name], threat, method) for name in datasets}
            for title, threat in columns.items()
        }
    )
    table.loc["mean"] = table.mean()
    stated = preset.published.accuracy
    table.insert(0, "theirs", ["", *[""] * (len(datasets) - 1), "unknown" if stated is None else percent(stated)])
    return table.map(lambda value: value if isinstance(value, str) else percent(value))


def accuracy_of(metrics: dict[str, Any], threat: str, method: str) -> float:
    """Return an accuracy; in place of the suite's that of the pointwise worst of its eps, where there is one."""
    eps = threat.rpartition("_eps")[2]
    if threat.startswith("suite_") and f"worst_eps{eps}" in metrics:
        threat = f"worst_eps{eps}"
    return metrics[threat][method]["accuracy"]


def read_metrics() -> dict[str, Any]:
    """Read what `plot` has written."""
    return json.loads((REPORTS / "metrics.json").read_text(encoding="utf-8"))
