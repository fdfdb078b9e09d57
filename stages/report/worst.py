"""The pointwise worst over adaptive threats: what is left when the attacker may choose among them for each image."""

import pandas as pd

from stages.report.statistics import EXAMPLE
from stages.report.vocabulary import Threat


def worst_threats(threats: list[Threat]) -> list[Threat]:
    """One threat for each eps and defence that several adaptive threats share; `of` in its attack names them."""
    families: dict[tuple[float, str], list[str]] = {}
    for threat in threats:
        if threat.knowledge == "adaptive":
            families.setdefault((threat.eps, threat.defence), []).append(threat.name)
    return [worst_threat(*family, names) for family, names in families.items() if len(names) > 1]


def worst_threat(eps: float, defence: str, names: list[str]) -> Threat:
    """The threat `worst_eps4`, or `worst_eps4+jpeg75` through a defence."""
    name = f"worst_eps{eps:g}" if defence == "none" else f"worst_eps{eps:g}+{defence}"
    return Threat(name, "adaptive", {"method": "pointwise_worst", "eps": eps, "of": names}, defence)


def pointwise_worst(rows_by_threat: list[pd.DataFrame], name: str) -> pd.DataFrame:
    """Of each example the row of the threat that was worst for it: right only if right under every one of them.

    Args:
        rows_by_threat: The rows of each threat: id, threat, defence, prompt, seed, prediction, correct, margin.
        name: What to call the worst.

    Returns:
        Rows of the same columns, in the order of the first threat, for the examples (id, prompt, seed) that all of the
        threats attacked. Among wrong rows, and among right ones, the smallest margin is the worst.
    """
    rows = pd.concat(rows_by_threat, ignore_index=True)
    assert rows["defence"].nunique() == 1, "a worst is taken over threats through the same defence"
    attacked_by = rows.groupby(EXAMPLE)["threat"].transform("nunique")
    shared = rows[attacked_by == len(rows_by_threat)]
    assert len(shared), "every threat attacks a draw of images that lies in the larger ones, and the first seeds"
    worst = shared.sort_values(["correct", "margin"]).drop_duplicates(EXAMPLE)
    return rows_by_threat[0][EXAMPLE].merge(worst, on=EXAMPLE).assign(threat=name)[list(rows.columns)]
