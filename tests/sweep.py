"""What experiments have found: `python -m tests.sweep` reads all of this repository's and writes reports/sweep.*.

One line for each experiment of `dvc exp run`, by what it changed of the committed parameters, and the trade-off between
clean and robust accuracy of those that changed the bank's eps or the share of clean embeddings.
"""

import json
from pathlib import Path
from subprocess import check_output

import pandas as pd
from matplotlib.figure import Figure
from ruamel.yaml import YAML

from stages.report.style import COLOURS, MARKERS, png, styled

THREATS = ("clean", "pgd_eps4", "pgd_eps8", "pgd_eps16", "adaptive_eps4", "adaptive_eps8")
BANK = {"attack.eps", "tune.clean_fraction"}
yaml = YAML(typ="safe")


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
    found = [one for one in experiments() if not any(key.startswith(("refresh", "data.")) for key in one[0])]
    found = [one for one in found if set(THREATS) <= set(one[1])]
    lines = pd.DataFrame([line(*one) for one in [({}, committed("metrics")), *found]])
    return lines.drop_duplicates("changed").sort_values(sorted(BANK), kind="stable", ignore_index=True)


def picture(lines: pd.DataFrame) -> bytes:
    """Robust against clean accuracy of the experiments that changed nothing but the bank, a curve for each share."""
    changes = [{part.split("=")[0] for part in told.split(", ")} for told in lines["changed"]]
    curves = lines[[change <= {*BANK, "the default"} for change in changes]].groupby("tune.clean_fraction")
    with styled():
        figure = Figure((9, 3.6), layout="constrained")
        for panel, threat in zip(figure.subplots(1, 2), ("pgd_eps8", "adaptive_eps4"), strict=True):
            for prompt, (share, curve) in zip(("advpt", "coop"), curves, strict=False):
                places = 100 * curve.sort_values("attack.eps")[["clean", threat, "attack.eps"]].to_numpy()
                colour, marker = COLOURS[prompt], MARKERS[prompt]
                panel.plot(*places.T[:2], marker=marker, color=colour, label=f"clean share {share:g}")
                for clean, robust, eps in places:
                    panel.annotate(f"{eps / 100:g}", (clean, robust), (4, 4), textcoords="offset points", color=colour)
            panel.set(title=f"{threat}, by the bank's eps", xlabel="clean accuracy in %", ylabel="robust accuracy in %")
            panel.set(xlim=(0, 100), ylim=(0, 60))
            panel.legend(loc="upper left")
    return png(figure)


if __name__ == "__main__":
    found = table()
    found.to_csv("reports/sweep.csv", index=False, float_format="%.6g", lineterminator="\n")
    Path("reports/sweep.png").write_bytes(picture(found))
    print(found.to_string(index=False))
