"""Inputs of `plot` and `model_card`: predictions, curves, images and measurements of a study, and their provenance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.evaluation.study import HALVES, read_method, study_title
from stages.report.tables import Predictions
from stages.report.threats import pointwise_worst, threats_of
from stages.report.vocabulary import Method, Threat
from stages.runtime.params import Params
from stages.storage import layout
from stages.storage.card import Card, read_card
from stages.storage.images import read_images
from stages.storage.notes import read_note
from stages.storage.parquet import read_footer, read_table
from stages.storage.provenance import Provenance, require

CURVES = {"dataset": str, "method": str, "seed": int, "epoch": int, "loss": float, "accuracy": float}
INTERPRETATION = ("nearest_tokens", "text_feature_drift", "cosines", "pca")


@dataclass(frozen=True)
class Study:
    """The results of one study; what was learnt in it goes by the names of methods."""

    dataset: str  # whose test images are classified
    name: str  # `all`, `base`, `new`, or the data set that the methods were tuned on
    card: Card
    class_names: list[str]
    methods: list[Method]
    threats: list[Threat]
    provenances: dict[str, Provenance]
    curves: pd.DataFrame  # of what was tuned in this study: dataset, method, seed, epoch, loss, accuracy
    predictions: Predictions
    pixel_prompts: dict[str, tuple[np.ndarray, pd.DataFrame]]  # of the first seed (3, H, W), and their effects

    @property
    def title(self) -> str:
        """Name of the study in the report: `dtd`, `dtd_base`, `imagenet_to_dtd`."""
        return study_title(self.dataset, self.name)

    @property
    def bank_eps(self) -> float:
        """The eps of the bank that the first method tuned on one has seen; 0 if none has."""
        attacks = (made.get("tuned", made).get("attack") for made in self.provenances.values())
        return next((attack["eps"] for attack in attacks if attack), 0)


def studies_of(params: Params) -> list[tuple[str, str]]:
    """Return all studies in the order of the report: data set, name of the study."""
    transfers = [(target, source) for source in params.transfer.sources for target in params.transfer.targets]
    halves = [(dataset, half) for dataset in params.base_to_new for half in HALVES]
    return [*((dataset, "all") for dataset in params.datasets), *transfers, *halves]


def methods_of(params: Params, study: str) -> list[Method]:
    """Return the methods of a study: those behind a defence are evaluated on all classes only."""
    return [
        Method(one.name, one.label, one.block.baseline, one.group)
        for one in params.methods.all()
        if study == "all" or one.group != "defended"
    ]


def assessed_method(params: Params) -> Method:
    """Return the method that `assess` attacks, which the report shows where there is room for only one."""
    return next(one for one in methods_of(params, "all") if f"{one.group}/{one.name}" == params.assess.method)


def read_study(dataset: str, name: str, params: Params) -> Study:
    """Read what was found in one study.

    Raises:
        ValueError: If a file is missing or damaged, a method or an attack was made with other parameters, or adaptive
            attacks are of several versions of the suite.
    """
    methods, threats = methods_of(params, name), threats_of(params.oblivious, params.adaptive)
    methods = [one._replace(cost=cost_of(dataset, name, one)) for one in methods]
    provenances: dict[str, Provenance] = {}
    tables: dict[str, Predictions] = {}
    curves, pixel_prompts = [], {}
    for method in methods:
        prompts = read_method(dataset, name, params.methods.find(method.group, method.name), params)
        provenances[method.name] = prompts.provenance
        tables[method.name] = read_predictions(dataset, name, method, threats)
        folder = layout.method_folder(dataset, name, method.group, method.name)
        if (tuning := folder / "tuning.parquet").is_file():
            curves.append(read_table(tuning)[0].to_pandas())
        if prompts.pixels is not None and (effect := folder / "effect.parquet").is_file():
            pixel_prompts[method.name] = (prompts.pixels[0], read_table(effect)[0].to_pandas())
    require_one_suite(dataset, name, methods, threats)
    predictions: Predictions = {}
    for threat in threats:  # the pointwise worst ones come last
        if threat.is_worst:
            predictions[threat.name] = pointwise_worst([predictions[one] for one in threat.attack["of"]], threat.name)
        else:
            rows = [tables[method.name][threat.name] for method in methods]
            predictions[threat.name] = pd.concat(rows, ignore_index=True)
    found = pd.concat([pd.DataFrame(columns=list(CURVES)).astype(CURVES), *curves])
    card = read_card(dataset)
    about = (dataset, name, card, prompts.class_names, methods, threats, provenances)
    return Study(*about, found, predictions, pixel_prompts)


def read_predictions(dataset: str, study: str, method: Method, threats: list[Threat]) -> Predictions:
    """Read the predictions of one method.

    Raises:
        ValueError: If a file is missing or damaged, or the attack of a threat was another one.
    """
    place = (dataset, study, method.group, method.name)
    path = layout.predictions_file(*place, "oblivious")
    table, provenance = read_table(path)
    sources = provenance["features" if "features" in provenance else "images"]
    by_threat = dict(iter(table.to_pandas().groupby("threat", sort=False)))
    for threat in threats:
        if threat.knowledge == "oblivious":
            require(sources.get(threat.name, {}), path, attack=threat.attack)
        elif threat.knowledge == "adaptive" and not threat.is_worst:
            path = layout.predictions_file(*place, threat.name)
            table, made_by = read_table(path)
            require(made_by["images"], path, attack=threat.attack)
            by_threat[threat.name] = table.to_pandas()
    return by_threat


def require_one_suite(dataset: str, study: str, methods: list[Method], threats: list[Threat]) -> None:
    """Refuse adaptive predictions of several versions of the suite of attacks: they are not comparable."""
    names = [threat.name for threat in threats if threat.attack.get("method") == "suite"]
    files = [layout.predictions_file(dataset, study, one.group, one.name, name) for one in methods for name in names]
    versions = {read_footer(path)[1]["images"].get("suite"): path for path in files}
    if len(versions) > 1:
        found = ", ".join(f"{path} (version {version})" for version, path in versions.items())
        raise ValueError(f"versions of the suite of attacks differ: {found}; `dvc repro` makes all of one version")


def cost_of(dataset: str, study: str, method: Method) -> str:
    """Return what a prediction costs, in words, as `evaluate_images` has counted it.

    Other methods share the stored features of the plain model: one forward pass for each image.
    """
    _, provenance = read_footer(layout.predictions_file(dataset, study, method.group, method.name, "oblivious"))
    cost = provenance.get("cost", {"forwards": 1, "backwards": 0})
    return cost_in_words(cost, provenance.get("method", {}).get("block", {}))


def cost_in_words(cost: dict[str, int], block: dict[str, Any]) -> str:
    """Return what `count_cost` has counted of a method with this block, in words, with the kind of its defence."""
    counts = {name: cost[f"{name}s"] for name in ("forward", "backward")}
    passes = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
    if text := cost.get("text"):
        passes.append(f"{text} of text")
    defence = block.get("defence")
    return " + ".join([*passes, *([defence["kind"]] if defence else [])])


def read_assessment(dataset: str) -> pd.DataFrame:
    return read_table(layout.assessment_file(dataset))[0].to_pandas()


def read_interpretation(dataset: str) -> dict[str, pd.DataFrame]:
    folder = layout.interpretation_folder(dataset)
    return {name: read_table(folder / f"{name}.parquet")[0].to_pandas() for name in INTERPRETATION}


def read_surrogates(dataset: str, threats: list[Threat]) -> list[dict]:
    """Read the accuracies of the surrogate of each transfer attack on a data set."""
    transfers = [threat.name for threat in threats if threat.attack.get("method") == "transfer"]
    paths = {name: layout.oblivious_images(dataset, name) / "surrogate.json" for name in transfers}
    return [{"threat": name, **read_note(path)} for name, path in paths.items()]


def read_pixels(dataset: str, method: Method, threat: Threat, ids: list[str], *, study: str = "all") -> np.ndarray:
    """Read the images of the given ids, in their order (N, H, W, 3), one shard at a time.

    Args:
        dataset: Its name.
        method: The method that adaptive images were crafted through, in its first tuning seed.
        threat: Any but a pointwise worst.
        ids: N of them.
        study: Name of the study.
    """
    if threat.knowledge == "adaptive":
        folder = layout.adaptive_images(dataset, study, method.group, method.name, threat.name) / "seed-0"
    else:
        folder = layout.oblivious_images(dataset, threat.name)
    found: dict[str, np.ndarray] = {}
    for shard in read_images(folder):
        found |= {id: pixels.copy() for id, pixels in zip(shard.ids, shard.pixels, strict=True) if id in ids}
        if len(found) == len(ids):
            break
    return np.stack([found[id] for id in ids])
