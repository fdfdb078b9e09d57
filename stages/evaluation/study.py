"""Embeddings x a method -> predictions: the one evaluation path of clean, oblivious and adaptive threats."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stages.models.logits import exact_logits, exact_routed_logits, predictions_and_margins
from stages.runtime.method_blocks import WITHOUT_FEATURES
from stages.runtime.params import Method, Params
from stages.storage.card import Card
from stages.storage.embeddings import Bank
from stages.storage.layout import prompts_file
from stages.storage.prompts import PromptFile, load_prompts
from stages.storage.provenance import Provenance, require, with_versions

HALVES = ("base", "new")  # of the classes: those that a prompt is tuned on, and those that it has never seen
ROWS_AT_A_TIME = 4096  # bounds the memory of their logits


def study_title(dataset: str, study: str) -> str:
    """Return what the report calls a study: `dtd`, `dtd_base`, or `imagenet_to_dtd`."""
    if study == "all":
        return dataset
    return f"{dataset}_{study}" if study in HALVES else f"{study}_to_{dataset}"


def study_labels(study: str, classes: int) -> range:
    """Return the labels of the classes of a study: of `base` the first half, the larger one, of `new` the rest.

    Args:
        study: `all`, `base`, `new`, or the data set that methods were tuned on.
        classes: Number of classes of the data set.

    Raises:
        ValueError: If a half would be fewer than two classes.

    Source: CoCoOp (Zhou et al. 2022), sec. 4.1, of the halves.
    """
    half = (classes + 1) // 2
    labels = {"base": range(half), "new": range(half, classes)}.get(study, range(classes))
    if len(labels) < 2:
        raise ValueError(f"{classes} classes cannot be halved: a classifier needs at least 2, so 4 are the fewest")
    return labels


def provenance_of(method: Method, card: Card, study: str, params: Params, **further: object) -> Provenance:
    """Return what decides about the prompts of a method.

    Args:
        method: Which one.
        card: The data set.
        study: `all` or `base`.
        params: The parameters.
        further: The `model`, and what else decides about a method of its group.
    """
    return with_versions(
        dataset=card.name,
        dataset_sha256=card.sha256,
        study=study,
        method=method.name,
        block=method.settings(params.tune),
        seed=params.seed,
        **further,
    )


def read_method(dataset: str, study: str, method: Method, params: Params, **expected: object) -> PromptFile:
    """Read the prompt file of one method.

    Args:
        dataset: Whose images it classifies.
        study: `all`, `base`, `new`, or the data set that it was tuned on.
        method: Which one.
        params: The parameters, which must be those that it was made with.
        expected: Further entries of its provenance.

    Raises:
        ValueError: If the file is missing or damaged, or was made otherwise.
    """
    path = prompts_file(dataset, study, method.group, method.name)
    prompts = load_prompts(path)
    made_by = prompts.provenance
    require(made_by, path, dataset=dataset, study=study, method=method.name, **expected)
    require(made_by.get("tuned", made_by), path, block=method.settings(params.tune), seed=params.seed)
    return prompts


def predictions_table(bank: Bank, prompts: PromptFile, *, title: str, threat: str, method: str, seed: int) -> pa.Table:
    """Classify each embedding with one method, as one tuning seed left it.

    Args:
        bank: N embeddings of images of the study's classes, labelled by position among these; their logits where they
            have no features.
        prompts: The method's.
        title: The study's.
        threat: What the images went through.
        method: The method's name.
        seed: The tuning seed.

    Returns:
        N rows: id, dataset (the study's title), threat, method, seed, label, prediction, correct, margin.
    """
    if defence_of(prompts.provenance) in WITHOUT_FEATURES:  # `embed_through` has made logits
        logits = bank.embeddings.astype(np.float64)
        return rows_of_logits(logits, bank, title=title, threat=threat, method=method, seed=seed)
    bias = np.float32(0) if prompts.logit_bias is None else prompts.logit_bias[seed]
    starts = range(0, len(bank.ids), ROWS_AT_A_TIME)
    batches = [
        logits_of(prompts, bank.embeddings[start : start + ROWS_AT_A_TIME], seed=seed) + bias for start in starts
    ]
    return rows_of_logits(np.concatenate(batches), bank, title=title, threat=threat, method=method, seed=seed)


def logits_of(prompts: PromptFile, embeddings: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the logits (N, K), float64, of embeddings (N, D) under one tuning seed, without a bias."""
    if prompts.router is None or prompts.experts is None:
        return exact_logits(embeddings, prompts.text_features[seed], prompts.logit_scale)
    return exact_routed_logits(embeddings, prompts.experts[seed], prompts.router[seed], prompts.logit_scale)


def rows_of_logits(logits: np.ndarray, bank: Bank, *, title: str, threat: str, method: str, seed: int) -> pa.Table:
    """Return the rows of `predictions_table` for logits (N, K) that are there already."""
    predictions, margins = predictions_and_margins(logits, bank.labels)
    count = len(bank.ids)
    columns = {
        "id": pa.array(bank.ids, pa.string()),
        "dataset": pa.repeat(title, count),
        "threat": pa.repeat(threat, count),
        "method": pa.repeat(method, count),
        "seed": pa.repeat(seed, count),
        "label": pa.array(bank.labels, pa.int64()),
        "prediction": pa.array(predictions, pa.int64()),
        "correct": pa.array(predictions == bank.labels, pa.bool_()),
        "margin": pa.array(margins.astype(np.float32)),
    }
    return pa.table(columns)


def defence_of(provenance: Provenance) -> str | None:
    """Return the kind of defence that a method stands behind, if there is one."""
    return provenance.get("block", {}).get("defence", {}).get("kind")


def accuracy_of(tables: Sequence[pa.Table]) -> float:
    """Return the share of rows that are right."""
    return float(np.mean(np.concatenate([table["correct"].to_numpy() for table in tables])))
