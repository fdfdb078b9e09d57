"""Classify the stored images of an entry again, through the method that is packed with them; nothing is attacked."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.entries.drawn import digest_of, draw
from stages.entries.record import (
    CLEAN,
    ENTRY,
    PROMPTS,
    WITHSTOOD,
    Record,
    accuracies_of,
    read_entry,
    read_outcomes,
)
from stages.evaluation.image_features import embed_through
from stages.evaluation.load import load_model, victim_of
from stages.evaluation.study import predictions_table
from stages.models.clip import Clip
from stages.models.device import choose_device
from stages.runtime.params import Runtime
from stages.storage.images import Images, read_all_images
from stages.storage.prompts import OPTIONAL, PromptFile, load_prompts
from stages.storage.provenance import require


def rescore(folder: Path, *, runtime: Runtime) -> Record:
    """Check an entry and return its record, whose numbers its own images and prompts give.

    Raises:
        ValueError: If anything does not hold; the message says what.
    """
    record = read_entry(folder)
    outcomes = read_outcomes(folder, record)
    data, method = record["data"], record["method"]
    clean = draw(data["dataset"], data["study"], data["n"], seed=data["seed"])
    check_drawn(folder, record, outcomes, clean)
    attacked = {eps: read_fallen(folder, eps, rows, clean) for eps, rows in outcomes.groupby("eps")}
    prompts = load_prompts(folder / PROMPTS)
    check_prompts(folder / PROMPTS, prompts, record)
    device = choose_device(runtime.device)
    clip = load_model(record["model"], folder / PROMPTS, device)
    check_shapes(folder / PROMPTS, prompts, clip, clean)
    together = join([clean, *attacked.values()])
    victim = victim_of(prompts, clip, seed=method["tuning_seed"])
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


def check_drawn(folder: Path, record: Record, outcomes: pd.DataFrame, clean: Images) -> None:
    """Refuse images that are not the class-balanced draw of the seed, and labels that are not the data set's."""
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
    if digest_of(clean) != record["data"]["images_sha256"]:
        raise ValueError(
            f"{folder}: made with other clean images than those here, whose sha256 is {digest_of(clean)}: another size "
            "of image, or another version of the data set"
        )


def read_fallen(folder: Path, eps: float, rows: pd.DataFrame, clean: Images) -> Images:
    """Read the attacked images of one eps; refuse those out of the ball, and others than the outcomes name.

    Args:
        folder: The entry.
        eps: Radius of the ball, in 1/255.
        rows: The outcomes at this eps.
        clean: The clean images, by ascending id.
    """
    place = folder / "images" / f"eps{eps:g}"
    images = read_all_images(place) if place.exists() else clean.take(slice(0))
    stated = set(rows.loc[~rows["fell_to"].isin((WITHSTOOD, CLEAN)), "id"])
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
    if images.pixels.shape != originals.pixels.shape:
        raise ValueError(f"{place}: images of {images.pixels.shape[1:]}, the clean ones are {clean.pixels.shape[1:]}")
    distance = np.abs(images.pixels.astype(int) - originals.pixels).reshape(len(images), -1).max(1, initial=0)
    if (distance > eps).any():
        wrong = int(distance.argmax())
        raise ValueError(
            f"{place}: image {images.ids[wrong]!r} is {distance[wrong]}/255 away from the clean one; at most "
            f"{eps:g}/255 is allowed"
        )
    return images


def check_prompts(path: Path, prompts: PromptFile, record: Record) -> None:
    """Refuse prompts of another method, model or data set than the record's, and numbers that are none."""
    made_by, method, data = prompts.provenance, record["method"], record["data"]
    require(made_by, path, model=record["model"], dataset=data["dataset"], dataset_sha256=data["sha256"])
    require(made_by, path, study=data["study"], method=method["name"])
    require(made_by.get("tuned", made_by), path, block=method["block"])
    arrays = {"text_features": prompts.text_features, **{name: getattr(prompts, name) for name in OPTIONAL}}
    for name, array in arrays.items():
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds NaN or inf")
    if not np.isfinite(prompts.logit_scale):
        raise ValueError(f"{path}: logit_scale is {prompts.logit_scale}")


def check_shapes(path: Path, prompts: PromptFile, clip: Clip, clean: Images) -> None:
    """Refuse prompts that do not fit the model or have no such classes or tuning seed."""
    count, classes, *_ = shape = prompts.text_features.shape
    if len(shape) != 3 or classes != len(prompts.class_names) or classes <= clean.labels.max():
        raise ValueError(f"{path}: text_features {shape} do not fit {len(prompts.class_names)} class names")
    size = clip.image_size
    if clean.pixels.shape[1:] != (size, size, 3):
        raise ValueError(f"{path}: its model takes images of {size} px, the clean ones are {clean.pixels.shape[1:]}")
    fitting = {"logit_bias": (count, classes), "pixels": (count, 3, size, size)}
    for name, expected in fitting.items():
        array = getattr(prompts, name)
        if array is not None and array.shape != expected:
            raise ValueError(f"{path}: {name} {array.shape}; {expected} is needed")


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
    strongest = result["strongest_oblivious"]
    if strongest is not None and result["threats"].get(strongest, {}).get("knowledge") != "oblivious":
        raise ValueError(f"{folder / ENTRY}: eps {result['eps']:g}: {strongest!r} is no oblivious threat of this eps")
    for column, found in accuracies_of(rows["fell_to"], strongest).items():
        stated = result[column]
        if stated != found:
            better = stated and found and stated["accuracy"] > found["accuracy"]
            raise ValueError(
                f"{folder / ENTRY}: eps {result['eps']:g}: {column} is stated as {stated}, its images "
                f"{'allow no more than' if better else 'give'} {found}"
            )


def join(parts: list[Images]) -> Images:
    """Return several groups of images as one."""
    return Images(
        [id for part in parts for id in part.ids],
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.pixels for part in parts]),
    )
