"""A tiny study: one data set of two hostile class names, one oblivious and one adaptive threat of the same eps."""

from io import BytesIO
from itertools import combinations

import pandas as pd
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from stages.report.assessment import Check, assessment_list, assessment_table
from stages.report.costs import Cost, costs_list, costs_table
from stages.report.findings import findings
from stages.report.origins import datasets_table, prompts_table, threats_table
from stages.report.page import Picture, page
from stages.report.results_table import results_table
from stages.report.style import png
from stages.report.tables import Accuracy
from stages.report.vocabulary import CLEAN, Threat

NAN = float("nan")
PROMPTS = ("hand", "coop", "advpt", "advpt_refreshed")
HOSTILE = '"><script>alert(1)</script>&'
PGD = Threat("pgd_eps8", "oblivious", {"method": "feature_pgd", "eps": 8.0, "steps": 40})
KNOWING = Threat("knowing", "adaptive", {"method": "pgd", "eps": 8.0, "steps": 40})


@pytest.fixture
def threats():
    return [CLEAN, PGD, KNOWING]


@pytest.fixture
def class_names():
    return ["<script>alert(1)</script>", "$\\frac$"]


@pytest.fixture
def line():
    """Makes one accuracy with an interval of ± 0.05; p is that of every comparison with a lesser prompt.

    Without `clean`, clean accuracy on the same images is the accuracy itself.
    """

    def make(threat, prompt, accuracy, *, n=100, seeds=1, p=0.0001234, clean=None):
        std = NAN if seeds == 1 else 0.01
        low, high = accuracy - 0.05, accuracy + 0.05
        against = {"hand": (NAN, NAN, NAN), "coop": (p, NAN, NAN), "advpt": (p, p, NAN), "advpt_refreshed": (p, NAN, p)}
        place = ("tiny", threat.name, threat.knowledge, prompt)
        clean = accuracy if clean is None else clean
        return Accuracy(*place, accuracy, low, high, std, n, seeds, clean, *against[prompt])

    return make


@pytest.fixture
def results(threats, line):
    """AdvPT: clean a loss, oblivious a gain, adaptive noise and on fewer images. Refreshed: a loss, noise, a gain."""
    values = {"clean": (0.9, 0.9, 0.7, 0.85), "pgd_eps8": (0.3, 0.31, 0.5, 0.35), "knowing": (0.1, 0.1, 0.12, 0.2)}
    noise = {"clean": ["coop"], "pgd_eps8": ["coop", "advpt_refreshed"], "knowing": ["coop", "advpt"]}
    return {
        ("tiny", threat.name, prompt): line(
            threat,
            prompt,
            accuracy,
            n=30 if threat is KNOWING else 100,
            clean=values["clean"][PROMPTS.index(prompt)] - (0.15 if threat is KNOWING else 0),
            seeds=3 if prompt != "hand" and threat is not KNOWING else 1,
            p=0.25 if prompt in noise[threat.name] else 0.0001234,
        )
        for threat in threats
        for prompt, accuracy in zip(PROMPTS, values[threat.name], strict=True)
    }


@pytest.fixture
def rows():
    """Makes rows of one threat from (prompt, seed, id, label, prediction)."""

    def make(threat, *lines, defence="none"):
        table = pd.DataFrame(lines, columns=["prompt", "seed", "id", "label", "prediction"])
        right = table["label"] == table["prediction"]
        return table.assign(dataset="tiny", threat=threat, defence=defence, correct=right)

    return make


@pytest.fixture
def html(results, threats):
    """A page of one data set, in which every text is hostile."""
    renamed = {(HOSTILE, *key[1:]): line._replace(dataset=HOSTILE) for key, line in results.items()}
    made_by = {name: {"model": {"name": HOSTILE}, "tune": {"lr": 0.01}, HOSTILE: None} for name in ("hand", "advpt")}
    made_by["hand"]["template"], made_by["advpt"]["template"] = HOSTILE, "[16] {}."
    picture = BytesIO()
    Image.new("RGB", (1200, 400), "grey").save(picture, "PNG")
    return page(
        [HOSTILE, "costs", "left", "refreshed"],
        [],
        [results_table(renamed, HOSTILE, threats)],
        [[*findings(renamed, HOSTILE, threats), HOSTILE]],
        {"accuracy": Picture(picture.getvalue(), HOSTILE, HOSTILE)},
        assessment_list(assessment_table({HOSTILE: [Check(HOSTILE, "fail", HOSTILE)]})),
        costs_list(costs_table([Cost(HOSTILE, HOSTILE, gradients=1234567, at_most=True)])),
        [datasets_table({HOSTILE: {"source": HOSTILE}}), prompts_table(HOSTILE, made_by), threats_table(threats)],
    )


def collisions(panel, marks, *, size):
    """What labels do not keep off as the picture is drawn: other labels, marks, the edge; measured by matplotlib."""
    png(panel.figure)
    boxes = [Text.get_window_extent(note) for note in panel.texts]
    half = size / 2 * panel.figure.dpi / 72
    squares = [Bbox([place - half, place + half]) for place in panel.transData.transform(marks)]
    pairs = sum(one.overlaps(other) for one, other in combinations(boxes, 2))
    return pairs, sum(box.overlaps(square) for box in boxes for square in squares), sum(map(leaves(panel), boxes))


def leaves(panel):
    """Whether a box is not wholly in the panel."""
    return lambda box: not (panel.bbox.contains(*box.min) and panel.bbox.contains(*box.max))
