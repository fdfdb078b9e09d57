"""The threats of a report, from their blocks in params.yaml, and the pointwise worst of adaptive ones."""

import pandas as pd
from pydantic import BaseModel

from stages.report.statistics import EXAMPLE
from stages.report.vocabulary import CLEAN, Threat

WORST = "pointwise_worst"


def threats_of(oblivious: dict[str, BaseModel], adaptive: dict[str, BaseModel]) -> list[Threat]:
    """Return clean, oblivious and adaptive threats in their order, then the worst of the adaptive ones.

    Args:
        oblivious: Attacks by the names of their threats.
        adaptive: The same.
    """
    threats = [Threat(name, "oblivious", attack.model_dump()) for name, attack in oblivious.items()]
    threats += [Threat(name, "adaptive", attack.model_dump()) for name, attack in adaptive.items()]
    return [CLEAN, *threats, *worst_threats(threats)]


def worst_threats(threats: list[Threat]) -> list[Threat]:
    """Return one threat for each eps that several adaptive threats share; `of` in its attack names them."""
    families: dict[float, list[str]] = {}
    for threat in threats:
        if threat.knowledge == "adaptive":
            families.setdefault(threat.eps, []).append(threat.name)
    return [
        Threat(f"worst_eps{eps:g}", "adaptive", {"method": WORST, "eps": eps, "of": names})
        for eps, names in families.items()
        if len(names) > 1
    ]


def strongest_adaptive(threats: list[Threat]) -> list[Threat]:
    """Return one adaptive threat for each eps, in ascending order: the last, which is the worst of several."""
    by_eps = {threat.eps: threat for threat in threats if threat.knowledge == "adaptive"}
    return [by_eps[eps] for eps in sorted(by_eps)]


def pointwise_worst(predictions: list[pd.DataFrame], name: str) -> pd.DataFrame:
    """Return for each example the row of the threat that was worst: correct only if correct under all of them.

    Args:
        predictions: The rows of each threat: id, threat, method, seed, prediction, correct, margin.
        name: Name of the result.

    Returns:
        Rows of the same columns, in the order of the first threat, for the examples (id, method, seed) that all of the
        threats attacked. Among wrong rows, and among correct ones, the smallest margin is the worst.
    """
    rows = pd.concat(predictions, ignore_index=True)
    attacked_by = rows.groupby(EXAMPLE)["threat"].transform("nunique")
    shared = rows[attacked_by == len(predictions)]
    assert len(shared), "every threat attacks a draw of images that lies in the larger ones, and the first seeds"
    worst = shared.sort_values(["correct", "margin"]).drop_duplicates(EXAMPLE)
    return predictions[0][EXAMPLE].merge(worst, on=EXAMPLE).assign(threat=name)[list(rows.columns)]
