"""Fixtures of the report's tests."""

import pandas as pd
import pytest

from tests.report.studies import (
    ADVPT,
    COOP,
    KNOWING,
    METHODS,
    REFRESHED,
    THREATS,
    ZERO_SHOT,
    line_of,
    study_of,
)


@pytest.fixture
def results():
    """AdvPT: clean a loss, oblivious a gain, adaptive noise and on fewer images. Refreshed: a loss, noise, a gain."""
    values = {"clean": (0.9, 0.9, 0.7, 0.85), "pgd_eps8": (0.3, 0.31, 0.5, 0.35), "knowing": (0.1, 0.1, 0.12, 0.2)}
    noise = {"clean": [COOP], "pgd_eps8": [COOP, REFRESHED], "knowing": [COOP, ADVPT]}
    return study_of(
        *(
            line_of(
                threat,
                method,
                accuracy,
                n=30 if threat is KNOWING else 100,
                clean=clean - (0.15 if threat is KNOWING else 0),
                seeds=3 if method != ZERO_SHOT and threat is not KNOWING else 1,
                p=0.25 if method in noise[threat.name] else 0.0001234,
            )
            for threat in THREATS
            for method, accuracy, clean in zip(METHODS, values[threat.name], values["clean"], strict=True)
        )
    )


@pytest.fixture
def rows():
    """Make rows of one threat from (method, seed, id, label, prediction)."""

    def make(threat, *lines):
        table = pd.DataFrame(lines, columns=["method", "seed", "id", "label", "prediction"])
        return table.assign(dataset="tiny", threat=threat, correct=table["label"] == table["prediction"])

    return make
