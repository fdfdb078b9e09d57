"""The threats of a report, from their blocks in params.yaml, and the pointwise worst of those of one eps."""

from collections.abc import Mapping

import pandas as pd
from pydantic import BaseModel

from stages.report.statistics import EXAMPLE
from stages.report.vocabulary import CLEAN, WORST, Threat


def threats_of(oblivious: Mapping[str, BaseModel], adaptive: Mapping[str, BaseModel]) -> list[Threat]:
    """Return clean, oblivious and adaptive threats in their order, then the pointwise worst ones.

    Args:
        oblivious: Attacks by the names of their threats.
        adaptive: The same.
    """
    threats = [Threat(name, "oblivious", attack.model_dump()) for name, attack in oblivious.items()]
    threats += [Threat(name, "adaptive", attack.model_dump()) for name, attack in adaptive.items()]
    return [CLEAN, *threats, *worst_threats(threats)]


def worst_threats(threats: list[Threat]) -> list[Threat]:
    """Return a threat for each eps of an adaptive one that other threats share; `of` in its attack names all of them.

    An attacker who knows the method may use the images of one who does not, so oblivious threats count, too.
    """
    worst = []
    for eps in sorted({threat.eps for threat in threats if threat.knowledge == "adaptive"}):
        names = [threat.name for threat in threats if threat.eps == eps]
        if len(names) > 1:
            worst.append(Threat(f"worst_eps{eps:g}", "adaptive", {"method": WORST, "eps": eps, "of": names}))
    return worst


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
