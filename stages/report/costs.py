"""What each stage costs, counted and not measured: the same on every machine.

Seconds would differ from run to run, and so would the report. Left out is what is small beside these: judging stored
features, accuracies of surrogates, clean images asked once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import ceil
from typing import Any, NamedTuple

import pandas as pd

from stages.report.region import region
from stages.report.vocabulary import Threat

APGD_STEPS = 100  # of AutoAttack, for the cross-entropy and for each class that it aims at
TARGETS = 9
SUITE = {"steps": 32, "restarts": 2, "targets": 3}  # of the assessment
OFFICIAL_QUERIES = 5000  # of Square in AutoAttack's `standard`
COLUMNS = {
    "gradients": "image gradients",
    "passes": "image passes",
    "surrogate": "gradients of the surrogate",
    "text_steps": "text gradients",
}


class Cost(NamedTuple):
    """What one stage asks of the networks; `at_most` if images that are fooled already may rest.

    gradients: image tower forward and back, for one image. passes: forward alone. surrogate: forward and back of the
    network that a transfer attack is crafted on. text_steps: text tower forward and back over all classes.
    """

    dataset: str
    stage: str
    gradients: int = 0
    passes: int = 0
    surrogate: int = 0
    text_steps: int = 0
    at_most: bool = False


@dataclass(frozen=True)
class Sizes:
    """How much there is of one data set.

    Attributes:
        train: Training images.
        test: Test images.
        classes: K.
        attacked: Of each adaptive threat, attacked images, over all prompts and tuning seeds.
    """

    train: int
    test: int
    classes: int
    attacked: dict[str, int]


def costs_of(
    dataset: str,
    sizes: Sizes,
    bank: dict[str, Any],
    tune: dict[str, Any],
    refreshed: dict[str, Any],
    threats: list[Threat],
    measured: pd.DataFrame,
) -> list[Cost]:
    """The costs of one data set, in the order of the graph.

    Args:
        dataset: Its name.
        sizes: How much there is of it.
        bank: The parameters of the bank's attack.
        tune: The parameters of tuning.
        refreshed: What made the refreshed prompts: the parameters `refresh` of the rounds, `tune` of their tuning.
        threats: All threats of the report.
        measured: What `assess` measured, see `assessment.checks_of`.
    """
    train, test = sizes.train, sizes.test
    steps = text_steps(tune, train)
    oblivious = [threat for threat in threats if threat.knowledge == "oblivious" and threat.defence == "none"]
    adaptive = [threat for threat in threats if threat.name in sizes.attacked]
    defended = sum(threat.defence != "none" and threat.knowledge != "adaptive" for threat in threats)
    bank_passes = 1 + (bank["restarts"] if bank["restarts"] > 1 else 0)
    parts = [
        Cost(dataset, "extract", passes=train + test),
        Cost(dataset, "craft", gradients=train * bank["steps"] * bank["restarts"], passes=train * bank_passes),
        Cost(dataset, "embed", passes=train),
        Cost(dataset, "tune", text_steps=steps),
        Cost(dataset, "tune-clean", text_steps=steps),
        refreshing(dataset, refreshed["refresh"], refreshed["tune"], train),
        *(crafting(dataset, threat, sizes) for threat in oblivious),
        *([Cost(dataset, "defend", passes=test * defended)] if defended else []),
        *(adapting(dataset, threat, sizes) for threat in adaptive),
        assessing(dataset, measured, sizes),
    ]
    return [part for part in parts if sum(part[2:6])]


def text_steps(tune: dict[str, Any], train: int) -> int:
    """Steps of one tuning, over all seeds."""
    return tune["tuning_seeds"] * tune["epochs"] * ceil(train / tune["batch_size"])


def refreshing(dataset: str, settings: dict[str, Any], tune: dict[str, Any], train: int) -> Cost:
    """Every round but the first attacks through every seed's prompt; the first through one if all begin with it."""
    rounds, seeds, steps = settings["rounds"], tune["tuning_seeds"], text_steps(tune, train)
    attacks = train * ((1 if settings["start"] == "hand" else seeds) + (rounds - 1) * seeds)
    return Cost(dataset, "refresh", gradients=attacks * settings["steps"], passes=attacks, text_steps=steps * rounds)


def crafting(dataset: str, threat: Threat, sizes: Sizes) -> Cost:
    """An oblivious attack on all test images and their embeddings; for a transfer attack with its surrogate's part."""
    stage, attack = f"craft-test {threat.name}", threat.attack
    gradients = sizes.test * attack["steps"]
    if attack["method"] == "feature_pgd":
        looks = attack["restarts"] if attack["restarts"] > 1 else 0  # at which start went farthest
        passes = (2 + looks) * sizes.test  # clean and attacked embeddings
        return Cost(dataset, stage, gradients=gradients * attack["restarts"], passes=passes)
    if reverse := attack.get("reverse"):
        gradients += sizes.test * reverse["steps"] * max(attack["steps"] - reverse["from_step"], 0)
    surrogate = attack["surrogate"]
    fitting = sizes.train * (surrogate["epochs"] if surrogate["name"] == "small_cnn" else 1)  # else its features once
    return Cost(dataset, stage, passes=sizes.test, surrogate=gradients + fitting)


def adapting(dataset: str, threat: Threat, sizes: Sizes) -> Cost:
    """An attack through each prompt."""
    stage, attack, images = f"adapt {threat.name}", threat.attack, sizes.attacked[threat.name]
    if attack["method"] == "pgd":
        gradients = images * attack["steps"] * attack["restarts"] * attack["samples"]
        return Cost(dataset, stage, gradients=gradients, at_most=True)
    if attack["method"] == "suite":
        return Cost(dataset, stage, gradients=images * suite_gradients(attack, sizes.classes), at_most=True)
    if attack["method"] == "square":
        return Cost(dataset, stage, passes=images * attack["queries"], at_most=True)
    asked = OFFICIAL_QUERIES if attack["version"] == "standard" else 0
    gradients = images * autoattack_gradients(attack["version"], sizes.classes)
    return Cost(dataset, stage, gradients=gradients, passes=images * asked, at_most=True)


def suite_gradients(attack: dict[str, Any], classes: int) -> int:
    """Of one image: the attacks of each restart, and one for each class whose distance is estimated."""
    near = min(TARGETS, classes - 1)
    return attack["restarts"] * attack["steps"] * (1 + min(attack["targets"], near)) + near


def autoattack_gradients(version: str, classes: int) -> int:
    """Of one image: APGD, targeted APGD (from 4 classes), in `standard` also FAB."""
    targets = min(TARGETS, classes - 1)
    aimed = targets * ((classes >= 4) + (version == "standard"))
    return APGD_STEPS * (1 + aimed)


def assessing(dataset: str, measured: pd.DataFrame, sizes: Sizes) -> Cost:
    """Every line of PGD's is one attack; AutoAttack, the suite on the same images, and Square have one each."""
    of_pgd = (measured["measure"] == "accuracy") & measured["attack"].isin(["pgd", "margin"])
    pgd = measured[of_pgd | (measured["measure"] == "loss_rises")]
    auto, square = (measured[measured["measure"] == name].iloc[0] for name in ("autoattack", "square_gain"))
    rivals = autoattack_gradients("fast", sizes.classes) + suite_gradients(SUITE, sizes.classes)
    gradients = int((pgd["steps"] * pgd["n"]).sum()) + int(auto["n"]) * rivals
    return Cost(dataset, "assess", gradients=gradients, passes=int(square["steps"] * square["n"]), at_most=True)


def costs_list(table: pd.DataFrame) -> str:
    """The costs as an HTML table."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("data set", "stage", *COLUMNS.values()))
    rows = "".join(f"<tr>{''.join(cells(line))}</tr>" for line in table.itertuples())
    return region(f'<table class="costs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>', "Costs")


def cells(line: Any) -> Iterator[str]:
    """The cells of one stage; nothing where there is nothing to count."""
    yield f'<td>{escape(line.dataset)}</td><th scope="row">{escape(line.stage)}</th>'
    for column in COLUMNS:
        count = getattr(line, column)
        yield f"<td>{'≤ ' if line.at_most else ''}{count:,}</td>" if count else "<td></td>"


def costs_table(costs: list[Cost]) -> pd.DataFrame:
    """The costs as a table."""
    return pd.DataFrame(costs, columns=Cost._fields)
