"""Tabulate experiments: `python -m reports.studies.sweep` reads all of this clone and writes reports/sweep.*.

One line for each experiment of `dvc exp run`, by what it changed of the committed parameters, and the trade-off between
clean and robust accuracy of those that changed the bank's eps or the share of clean embeddings.
"""

import json
from pathlib import Path
from subprocess import check_output
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ruamel.yaml import YAML

from stages.report.style import png, styled

THREATS = ("clean", "pgd_eps4", "pgd_eps8", "pgd_eps16", "adaptive_eps4", "adaptive_eps8")
DRAWN = ("pgd_eps8", "adaptive_eps4")
BANK = {"attack.eps", "tune.clean_fraction"}
SIZE = 6.5  # of a mark, in points
LABELS = {
    "zero_shot": "hand-written",
    "hand": "hand-written",  # its name in older commits
    "coop": "CoOp",
    "advpt": "AdvPT",
    "advpt_refreshed": "AdvPT refreshed",
}
COLOURS = {"zero_shot": "#555555", "coop": "#E69F00", "advpt": "#0072B2", "advpt_refreshed": "#009E73"}
MARKERS = {"zero_shot": "o", "coop": "s", "advpt": "D", "advpt_refreshed": "^"}
yaml = YAML(typ="safe")


class Curve(NamedTuple):
    """Accuracies of prompts that were tuned on banks of several eps.

    Attributes:
        look: Whose colour and mark it has.
        name: For the legend.
        places: Clean and robust accuracy in percent, (P, 2).
        eps: P of them, or none.
    """

    look: str
    name: str
    places: np.ndarray
    eps: list[float]


def git(*arguments: str) -> str:
    """What git says."""
    return check_output(["git", *arguments], text=True)


def flat(nested: dict, prefix: str = "") -> dict[str, object]:
    """Nested dictionaries as one, keys joined by dots."""
    found: dict[str, object] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def committed(name: str, commit: str = "HEAD") -> dict:
    """A JSON file of reports/ of the default data set, or the parameters with dotted keys, as a commit has them."""
    if name == "params":
        return flat(yaml.load(git("show", f"{commit}:params.yaml")))
    return json.loads(git("show", f"{commit}:reports/{name}.json"))["fashion"]


def experiments() -> list[tuple[dict[str, object], dict]]:
    """What each experiment changed of the committed parameters, and its metrics; on the default data set."""
    refs = git("for-each-ref", "refs/exps", "--format=%(refname) %(objectname)").split("\n")[:-1]
    default = committed("params")
    found = []
    for commit in (ref.split()[1] for ref in refs if ref.count("/") == 4):
        params = committed("params", commit)
        if params["datasets"] == default["datasets"] and params["model.name"] == default["model.name"]:
            changed = {key: value for key, value in params.items() if value != default.get(key)}
            found.append((changed, committed("metrics", commit)))
    return found


def line(changed: dict[str, object], metrics: dict) -> dict[str, object]:
    """One experiment: what it changed, and AdvPT's accuracy under each threat."""
    told = ", ".join(f"{key}={value}" for key, value in changed.items()) or "the default"
    default = committed("params")
    bank = {key: changed.get(key, default[key]) for key in sorted(BANK)}
    return {"changed": told, **bank, **{threat: metrics[threat]["advpt"]["accuracy"] for threat in THREATS}}


def table() -> pd.DataFrame:
    """All experiments that leave the rounds of refreshing alone, and the committed state."""
    found = [one for one in experiments() if not any(key.startswith(("methods.", "data.")) for key in one[0])]
    found = [one for one in found if set(THREATS) <= set(one[1])]
    lines = pd.DataFrame([line(*one) for one in [({}, committed("metrics")), *found]])
    return lines.drop_duplicates("changed").sort_values(sorted(BANK), kind="stable", ignore_index=True)


def picture(lines: pd.DataFrame) -> bytes:
    """Robust against clean accuracy of the experiments that changed nothing but the bank, a curve for each share."""
    changes = [{part.split("=")[0] for part in told.split(", ")} for told in lines["changed"]]
    by_share = lines[[change <= {*BANK, "the default"} for change in changes]].groupby("tune.clean_fraction")
    looks = list(zip(("advpt", "coop"), by_share, strict=False))
    drawn = {
        threat: [curve_of(part, threat, look, f"{100 * share:g} % of the bank clean") for look, (share, part) in looks]
        for threat in DRAWN
    }
    with styled():
        figure = Figure((9, 5), layout="constrained")
        panels = figure.subplots(1, len(drawn), sharey=True)
        for panel, (threat, curves) in zip(panels, drawn.items(), strict=True):
            draw_curves(panel, curves)
            panel.set(title=threat, xlabel="clean accuracy in %", ylabel="robust accuracy in %")
        look = {"title": "AdvPT; a number is the eps of its bank", "alignment": "left"}
        figure.legend(handles=panels[0].lines, loc="outside upper left", ncols=len(looks), **look)
        figure.draw_without_rendering()  # where marks stand, and with them what names would cover
        for panel, curves in zip(panels, drawn.values(), strict=True):
            name_eps(panel, curves)
        return png(figure)


def curve_of(bank: pd.DataFrame, threat: str, look: str, name: str) -> Curve:
    """Robust against clean accuracy of AdvPT, by the eps of its bank."""
    lines = bank.sort_values("attack.eps")
    return Curve(look, name, 100 * lines[["clean", threat]].to_numpy(), lines["attack.eps"].tolist())


def draw_curves(panel: Axes, curves: list[Curve]) -> None:
    """Draws curves on axes that reach no further than they do."""
    for curve in curves:
        look: dict[str, Any] = {"color": COLOURS[curve.look], "marker": MARKERS[curve.look], "markeredgecolor": "white"}
        look |= {"markersize": SIZE, "markeredgewidth": 0.6, "linewidth": 1.2}
        panel.plot(*curve.places.T, linestyle="-" if len(curve.places) > 1 else "none", label=curve.name, **look)
    panel.margins(0.1)
    panel.grid(color="#d5d9de", linewidth=0.6)
    panel.set_axisbelow(True)


def name_eps(panel: Axes, curves: list[Curve]) -> None:
    """Write the eps beside each mark, in a figure that is laid out."""
    texts = [
        panel.text(place[0], place[1], f"{eps:g}", color=COLOURS[curve.look], fontsize=9)
        for curve in curves
        for place, eps in zip(curve.places, curve.eps, strict=False)
    ]
    marks = np.concatenate([curve.places for curve in curves])
    adjust_text(texts, x=marks[:, 0], y=marks[:, 1], ax=panel, expand=(1.9, 1.7), force_static=(0.5, 0.8))


if __name__ == "__main__":
    found = table()
    found.to_csv("reports/sweep.csv", index=False, float_format="%.6g", lineterminator="\n")
    Path("reports/sweep.png").write_bytes(picture(found))
    print(found.to_string(index=False))
