"""Classify the stored images of an entry again, through the method that is packed with them; nothing is attacked."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from stages.datasets import embedded
from stages.entries.drawn import digest_of, draw, facts_of
from stages.entries.learnt import check_learnt
from stages.entries.presets import read_preset
from stages.entries.prompts import check_arrays, check_block, check_prompts, check_threats
from stages.entries.record import (
    CLEAN,
    ENTRY,
    PROMPTS,
    WITHSTOOD,
    Record,
    UncheckedError,
    accuracies_of,
    needed_here,
    read_entry,
    read_outcomes,
    require_rows,
)
from stages.evaluation.cost import count_cost
from stages.evaluation.image_features import embed_through
from stages.evaluation.load import load_model, victim_of
from stages.evaluation.study import predictions_table, study_labels
from stages.models.clip import Clip
from stages.models.device import choose_device
from stages.report.inputs import cost_in_words
from stages.runtime.params import Model, Runtime
from stages.storage.images import COLUMNS, Images, joined, read_images, shard_paths
from stages.storage.parquet import read_footer
from stages.storage.prompts import load_prompts


def rescore(folder: Path, *, runtime: Runtime, fetch: bool = False) -> Record:
    """Check an entry and return its record, whose numbers its own images and prompts give.

    Args:
        folder: The entry.
        runtime: How to run.
        fetch: Whether a model that is not here may be downloaded.

    Raises:
        ValueError: If anything does not hold; the message says what.
        UncheckedError: If its model or the clean images are not here.
    """
    record, path = read_entry(folder), folder / PROMPTS
    for result in record["results"]:
        check_threats(folder / ENTRY, result)
    outcomes, prompts = read_outcomes(folder, record), load_prompts(path)
    data, method = record["data"], record["method"]
    check_block(Model, {**record["model"], "precision": "fp32"}, f"{folder / ENTRY}: model")
    with needed_here():
        if method["preset"] is not None:
            read_preset(method["preset"])
        names, template, sha256 = facts_of(data["dataset"])
        class_names = [names[label] for label in study_labels(data["study"], len(names))]
    if data["sha256"] != sha256:
        refuse_data(
            data["dataset"], f"{folder}: data.sha256 is {data['sha256']}; that of the data set here is {sha256}"
        )
    block = check_prompts(path, prompts, record, class_names)
    with needed_here():
        device = choose_device(runtime.device)
        clip = model_of(record["model"], path, device, fetch=fetch)
        clean = draw(data["dataset"], data["study"], data["n"], seed=data["seed"], fit=clip.fit)
    check_arrays(path, prompts, clip)
    check_learnt(path, prompts, block, template, clip)
    check_drawn(folder, record, outcomes, clean)
    attacked = read_attacked(folder, record, outcomes, clean)
    together = joined([clean, *attacked.values()])
    victim = victim_of(prompts, clip, seed=method["tuning_seed"])
    if method["cost"] != (cost := cost_in_words(count_cost(victim), method["block"])):
        raise ValueError(f"{folder / ENTRY}: cost is stated as {method['cost']!r}; one prediction takes {cost!r}")
    bank = embed_through(victim, together, seed=data["seed"], device=device, runtime=runtime)
    about = {"title": data["dataset"], "threat": "", "method": method["name"], "seed": method["tuning_seed"]}
    right = predictions_table(bank, prompts, **about)["correct"].to_numpy()
    parts = np.split(right, np.cumsum([len(clean), *map(len, attacked.values())])[:-1])
    right_clean = dict(zip(clean.ids, parts[0].tolist(), strict=True))
    for (eps, images), right_attacked in zip(attacked.items(), parts[1:], strict=True):
        check_outcomes(folder, outcomes[outcomes["eps"] == eps], right_clean, images, right_attacked)
    for result in record["results"]:
        check_accuracies(folder, result, outcomes[outcomes["eps"] == result["eps"]])
    return record


def model_of(model: Record, path: Path, device: torch.device, *, fetch: bool) -> Clip:
    """Load the model of an entry; unless `fetch` is set, only what is on this disk.

    Raises:
        ValueError: If it is not here or has another digest.
    """
    tower = model.get("visual_weights")
    if tower is not None and not os.path.isfile(tower):  # noqa: PTH113 - pathlib raises on long ones
        raise ValueError(f"{path}: made with the image tower {tower}, which is not here")
    hub: Any = importlib.import_module("huggingface_hub.constants")  # read at every request
    before = hub.HF_HUB_OFFLINE
    try:
        hub.HF_HUB_OFFLINE = before or not fetch
        return load_model(model, path, device)
    except ValueError as error:
        if fetch or model["name"].startswith("local-dir:"):
            raise
        raise ValueError(f"{error} Nothing was downloaded; `--fetch` allows it") from error
    finally:
        hub.HF_HUB_OFFLINE = before


def refuse_data(dataset: str, message: str) -> None:
    """Refuse other data than here: an embedded data set never changes, the pipeline's may be another one than meant."""
    raise ValueError(message) if dataset in embedded.SHA256 else UncheckedError(f"cannot be checked here: {message}")


def check_drawn(folder: Path, record: Record, outcomes: pd.DataFrame, clean: Images) -> None:
    """Refuse images that are not the class-balanced draw of the seed, and labels that are not the data set's."""
    if digest_of(clean) != record["data"]["images_sha256"]:
        refuse_data(
            record["data"]["dataset"],
            f"{folder}: made with other clean images than those here, whose sha256 is {digest_of(clean)}: another size "
            "of image, another draw, or another version of the data set",
        )
    labels = dict(zip(clean.ids, clean.labels.tolist(), strict=True))
    for eps, rows in outcomes.groupby("eps"):
        others = set(rows["id"]) - set(labels)
        if others or len(rows) != len(labels):
            raise ValueError(
                f"{folder}: eps {eps:g}: its {len(rows)} images are not the class-balanced draw of seed "
                f"{record['data']['seed']} from the test images{f', such as {min(others)!r}' if others else ''}"
            )
        for line in rows.itertuples():
            if line.label != labels[line.id]:
                raise ValueError(
                    f"{folder}: image {line.id!r} has label {line.label}, in {record['data']['dataset']} it has "
                    f"{labels[line.id]}"
                )


def read_attacked(folder: Path, record: Record, outcomes: pd.DataFrame, clean: Images) -> dict[float, Images]:
    """Read the attacked images of each eps; refuse those of an eps that has no results."""
    attacked = {eps: read_fallen(folder, eps, rows, clean) for eps, rows in outcomes.groupby("eps")}
    used = {f"images/eps{eps:g}" for eps, images in attacked.items() if len(images)}
    for name in record["files"]:
        place = name.rpartition("/")[0]
        if place and place not in used:
            raise ValueError(f"{folder / place}: nothing fell at such an eps; remove it")
    return attacked


def read_fallen(folder: Path, eps: float, rows: pd.DataFrame, clean: Images) -> Images:
    """Read the attacked images of one eps; refuse those out of the ball, and others than the outcomes name.

    Args:
        folder: The entry.
        eps: Radius of the ball, in 1/255.
        rows: The outcomes at this eps.
        clean: The clean images, by ascending id.
    """
    place = folder / "images" / f"eps{eps:g}"
    stated = set(rows.loc[~rows["fell_to"].isin((WITHSTOOD, CLEAN)), "id"])
    images = joined([clean.take(slice(0)), *(read_shards(place, clean) if place.exists() else ())])
    if len(set(images.ids)) < len(images):
        raise ValueError(f"{place}: an image is there twice")
    if more := set(images.ids) - stated:
        raise ValueError(f"{place}: {min(more)!r} and {len(more) - 1} more are there, but count as not fallen")
    if fewer := stated - set(images.ids):
        raise ValueError(f"{place}: {min(fewer)!r} and {len(fewer) - 1} more count as fallen, but are not there")
    originals = clean.take(np.searchsorted(np.array(clean.ids, object), np.array(images.ids, object)))
    if (images.labels != originals.labels).any():
        wrong = int(np.argmax(images.labels != originals.labels))
        raise ValueError(
            f"{place}: image {images.ids[wrong]!r} has label {images.labels[wrong]}, in the data set it has "
            f"{originals.labels[wrong]}"
        )
    distance = np.abs(images.pixels.astype(int) - originals.pixels).max(axis=(1, 2, 3), initial=0)
    if (distance > eps).any():
        wrong = int(distance.argmax())
        raise ValueError(
            f"{place}: image {images.ids[wrong]!r} is {distance[wrong]}/255 away from the clean one; at most "
            f"{eps:g}/255 is allowed"
        )
    return images


def read_shards(place: Path, clean: Images) -> list[Images]:
    """Read the shards of a folder; refuse images of another shape than the clean ones, and a shard without any.

    More images than clean ones are refused before they are read.
    """
    shape, left = list(clean.pixels.shape[1:]), len(clean)
    columns = (*COLUMNS[:2], pa.field("image", pa.binary(clean.pixels[0].size)))
    for path in shard_paths(place):
        if (found := read_footer(path)[1]) != {"shape": shape}:
            raise ValueError(
                f"{path}: made with {found!s:.100}; images of shape {shape}, as the clean ones, are needed"
            )
        rows = require_rows(path, columns, left)
        if not rows:
            raise ValueError(f"{path}: an empty shard; remove it")
        left -= rows
    return list(read_images(place))


def check_outcomes(
    folder: Path, rows: pd.DataFrame, right_clean: dict[str, bool], images: Images, right_attacked: np.ndarray
) -> None:
    """Refuse outcomes of one eps that the classified images do not give."""
    for line in rows.itertuples():
        if (line.fell_to == CLEAN) == right_clean[line.id]:
            found = "right" if right_clean[line.id] else "wrong"
            raise ValueError(
                f"{folder}: the method is {found} on the clean image {line.id!r}, at eps {line.eps:g} the "
                "opposite is stated"
            )
    if right_attacked.any():
        example = images.ids[int(right_attacked.argmax())]
        raise ValueError(
            f"{folder}: eps {rows['eps'].iloc[0]:g}: the method is right on attacked images that count as fallen: "
            f"{int(right_attacked.sum())}, such as {example!r}"
        )


def check_accuracies(folder: Path, result: Record, rows: pd.DataFrame) -> None:
    """Refuse accuracies that the outcomes of their eps do not give."""
    for column, found in accuracies_of(rows["fell_to"], result["strongest_oblivious"]).items():
        stated = result[column]
        if stated != found:
            better = stated and found and stated["accuracy"] > found["accuracy"]
            raise ValueError(
                f"{folder / ENTRY}: eps {result['eps']:g}: {column} is stated as {stated}, its images "
                f"{'allow no more than' if better else 'give'} {found}"
            )
