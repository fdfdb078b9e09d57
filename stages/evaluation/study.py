"""Embeddings x prompts -> rows: the one evaluation path of clean, oblivious and adaptive threats."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.models.logits import exact_logits, predictions_and_margins
from stages.runtime.params import Params
from stages.storage.embeddings import Bank
from stages.storage.prompts import PromptFile, load_prompts
from stages.storage.provenance import Provenance, require
from stages.storage.tensors import checksum_of

TUNED = ("coop", "advpt", "advpt_refreshed")
ROWS_AT_A_TIME = 4096  # bounds the memory of their logits


@dataclass(frozen=True)
class Study:
    """The prompts that are compared on one data set, or on some of its classes.

    Attributes:
        name: The data set's, or for example `imagenet_to_dtd`, `dtd_base`.
        prompts: By name: `hand`, `coop`, `advpt`, `advpt_refreshed`; all of the same K classes.
        labels: What the data set calls these classes (K,), ascending.
        seals: Digests of the prompts' files.
    """

    name: str
    prompts: dict[str, PromptFile]
    labels: np.ndarray
    seals: tuple[str, ...] = ()

    @property
    def provenances(self) -> dict[str, Provenance]:
        """What made each prompt."""
        return {name: prompts.provenance for name, prompts in self.prompts.items()}

    def takes_part(self, labels: np.ndarray) -> np.ndarray:
        """Which images (N,), by the data set's labels, show one of these classes: mask (N,)."""
        return np.isin(labels, self.labels)

    def relabel(self, labels: np.ndarray) -> np.ndarray:
        """The data set's labels (N,) of images that take part -> positions among these classes (N,)."""
        return np.searchsorted(self.labels, labels)


def expected_provenance(params: Params) -> dict[str, Provenance]:
    """What each prompt was made by if it was made as the parameters say."""
    tuned = {"seed": params.seed, "tune": params.tune.model_dump()}
    made = {"hand": {"hand": params.hand}, "coop": tuned, "advpt": {**tuned, "attack": params.attack.model_dump()}}
    rounds = {
        "seed": params.seed,
        "tune": params.refresh.changed(params.tune).model_dump(),
        "refresh": params.refresh.model_dump(),
    }
    return {**made, "advpt_refreshed": {"start": made[params.refresh.start], **rounds}}


def prompt_paths(dataset: str, study: str) -> dict[str, Path]:
    """Where the prompts lie that are compared in a study of the images of a data set."""
    whose = {"hand": dataset, **dict.fromkeys(TUNED, study)}
    return {prompt: Path(f"data/prompts/{name}/{prompt}/prompts.safetensors") for prompt, name in whose.items()}


def read_study(dataset: str, name: str, made_by: dict[str, Provenance] | None = None, **expected: object) -> Study:
    """Reads the prompts that are compared in a study: the data set's hand-written ones and those tuned.

    Args:
        dataset: Whose images are judged.
        name: The study's.
        made_by: What made each prompt, or the one whose context it took; None for whatever.
        expected: What is the same for all of them.

    Raises:
        ValueError: If one is missing or damaged, or its provenance differs from what is expected.
    """
    paths, prompts = prompt_paths(dataset, name), {}
    for prompt, path in paths.items():
        prompts[prompt] = load_prompts(path)
        found = prompts[prompt].provenance
        require(found, path, dataset=dataset, **expected)
        require(found.get("tuned", found), path, **(made_by or {}).get(prompt, {}))
    of_dataset, of_study = prompts["hand"].class_names, prompts["advpt"].class_names
    if strangers := set(of_study) - set(of_dataset):
        raise ValueError(
            f"{paths['advpt'].parent}: knows a class {min(strangers)!r}, which {dataset} has not; run `dvc repro`"
        )
    labels = np.array([of_dataset.index(class_name) for class_name in of_study])
    seals = tuple(map(checksum_of, paths.values()))
    return Study(name, {**prompts, "hand": prompts["hand"].of_classes(labels)}, labels, seals)


def judged(bank: Bank, study: Study, *, threat: str, prompt: str, seed: int, defence: str = "none") -> pa.Table:
    """Judges each embedding by one prompt of one tuning seed.

    Args:
        bank: N embeddings of images of the study's classes, labelled as the study does.
        study: The prompts.
        threat: What the images went through.
        prompt: Name of the prompt.
        seed: Its tuning seed.
        defence: What the images went through before they were embedded.

    Returns:
        N rows: id, dataset (the study's name), threat, defence, prompt, seed, label, prediction, correct, margin.
    """
    prompts = study.prompts[prompt]
    count = len(bank.ids)
    predictions, margins = np.empty(count, np.int64), np.empty(count, np.float32)
    for start in range(0, count, ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        logits = exact_logits(bank.embeddings[rows], prompts.text_features[seed], prompts.logit_scale)
        predictions[rows], margins[rows] = predictions_and_margins(logits, bank.labels[rows])
    columns = {
        "id": pa.array(bank.ids, pa.string()),
        "dataset": pa.repeat(study.name, count),
        "threat": pa.repeat(threat, count),
        "defence": pa.repeat(defence, count),
        "prompt": pa.repeat(prompt, count),
        "seed": pa.repeat(seed, count),
        "label": pa.array(bank.labels, pa.int64()),
        "prediction": pa.array(predictions, pa.int64()),
        "correct": pa.array(predictions == bank.labels, pa.bool_()),
        "margin": pa.array(margins),
    }
    return pa.table(columns)


def accuracy_of(rows: Sequence[pa.Table]) -> float:
    """The share of rows that are right."""
    return float(np.mean(np.concatenate([part["correct"].to_numpy() for part in rows])))
