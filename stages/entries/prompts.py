"""Check the prompts of an entry: what they say of their making, and their arrays."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from stages.entries.learnt import LEARNT
from stages.entries.record import ENTRY, Record, UncheckedError
from stages.evaluation.load import blank_feature, require_seed
from stages.models.clip import Clip
from stages.models.image_tower import token_prompts_fit
from stages.models.text_tower import TextTower
from stages.runtime.params import Context, Methods, Params, Tuned, describe
from stages.storage.prompts import OPTIONAL, PromptFile
from stages.storage.provenance import require

Shape = tuple[int | None, ...]
UNIT = 1e-3  # how far the norm of a text feature may be from 1, and a factor from another


class Made(BaseModel):
    """The part of a provenance that decides how prompts classify: of what was tuned, or of what stands behind."""

    model_config = ConfigDict(strict=True)
    block: dict[str, Any] = Field(default_factory=dict)
    attack: dict[str, Any] = Field(default_factory=dict)
    tuned: "Made | None" = None
    behind: "Made | None" = None


def check_block(kind: Any, value: Any, where: str) -> Any:
    """Return a block with its defaults; refuse one that params.yaml could not have. `kind` is the type of it there.

    Raises:
        ValueError: If a value is not allowed.
        UncheckedError: If all that is wrong are names and keys, which other versions of this project may have.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        faults = sorted(error.errors(), key=may_be_of_another_version)
        message = f"{where}: {describe(faults[0])}"
        if not may_be_of_another_version(faults[0]):
            raise ValueError(message) from error
        raise UncheckedError(
            f"cannot be checked here: {message}. Another version of this project may have such a block in params.yaml: "
            f"check the entry at the commit that {ENTRY} states, or pack the method again"
        ) from error


def may_be_of_another_version(fault: ErrorDetails) -> bool:
    """Return whether a block has a key or a name that params.yaml does not know, or lacks a key, but no bad value."""
    if fault["type"] == "value_error":
        return re.match(r"unknown key |\S+: not a key any more", str(fault["ctx"]["error"])) is not None
    return fault["type"] in ("missing", "literal_error", "union_tag_invalid")


def check_threats(path: Path, result: Record) -> None:
    """Refuse the threats of an eps whose attacks are none, are of another eps, or none of which is an adaptive suite.

    Args:
        path: The record's file.
        result: The results at one eps.
    """
    where = f"{path}: eps {result['eps']:g}"
    for name, threat in result["threats"].items():
        kind = Params.model_fields[threat["knowledge"]].annotation
        check_block(kind, {name: threat["attack"]}, where)
        if threat["attack"]["eps"] != result["eps"]:
            raise ValueError(f"{where}: {name!r} is an attack of eps {threat['attack']['eps']:g}")
    if ("adaptive", "suite") not in [(one["knowledge"], one["attack"]["method"]) for one in result["threats"].values()]:
        raise ValueError(
            f"{where}: no adaptive threat is of the method suite, without which no number is an adaptive one"
        )
    strongest = result["strongest_oblivious"]
    oblivious = [name for name, threat in result["threats"].items() if threat["knowledge"] == "oblivious"]
    if strongest not in (oblivious or [None]):
        raise ValueError(f"{where}: strongest_oblivious: {strongest!r} is no oblivious threat of this eps: {oblivious}")


def check_prompts(path: Path, prompts: PromptFile, record: Record, class_names: list[str]) -> dict[str, Any]:
    """Return the block of what was learnt, which is that of the method behind a defence if there is one.

    Raises:
        ValueError: If prompts are of another method, model, data set or other classes than the record's.
        UncheckedError: If they are of another version of this project.
    """
    method, data, group = record["method"], record["data"], record["method"]["group"]
    check_block(Made, prompts.provenance, f"{path}: provenance")
    same = {"model": record["model"], "dataset": data["dataset"], "dataset_sha256": data["sha256"]}
    same |= {"study": data["study"]}
    require(prompts.provenance, path, **same, method=method["name"])
    made = Made.model_validate(prompts.provenance)
    if made.tuned and (made.block or made.behind):
        raise ValueError(f"{path}: provenance: {'block' if made.block else 'behind'} and tuned exclude each other")
    if (made.behind is not None) != (group == "defended"):
        raise ValueError(f"{path}: group {group}: its provenance has {'a' if made.behind else 'no'} method behind it")
    tuned = made.tuned or made
    require(tuned.model_dump(), path, block=method["block"])
    block = block_of(tuned, group, method["name"], path)
    if group.startswith("tune_") and bool(tuned.attack) != (group == "tune_bank"):
        raise ValueError(f"{path}: group {group}: its provenance has {'an' if tuned.attack else 'no'} attack")
    if made.behind:
        require(prompts.provenance["behind"], path, **same, method=block["method"])
        behind = made.behind.tuned or made.behind
        block = block_of(behind, group_of(behind), block["method"], path)
    if prompts.class_names != class_names:
        raise ValueError(f"{path}: class names {prompts.class_names!s:.200}; those of the data set are {class_names}")
    require_seed(prompts, path, method["tuning_seed"])
    return block


def block_of(made: Made, group: str, name: str, path: Path) -> dict[str, Any]:
    """Return the block of a method with its defaults; refuse one that its group could not have."""
    where = f"{path}: group {group}"
    block = check_block(Methods.model_fields[group].annotation, {name: made.block}, where)[name]
    if isinstance(block, Tuned) and block.kind == "context":  # whose defaults stand in the block `tune`
        check_block(Context, {key: made.block[key] for key in Context.model_fields if key in made.block}, where)
    return block.model_dump()


def group_of(made: Made) -> str:
    """Return the group of a method behind a defence, which its provenance does not state."""
    if "templates" in made.block:
        return "zero_shot"
    if "rounds" in made.block:
        return "refresh"
    return "tune_clean" if made.block.get("kind") in list(LEARNT) else "adversarial"


def check_arrays(path: Path, prompts: PromptFile, clip: Clip) -> None:
    """Refuse arrays that do not fit the model or each other, and numbers that are none."""
    if (prompts.router is None) != (prompts.experts is None):
        raise ValueError(f"{path}: router and experts belong together")
    allowed = shapes_of(prompts, clip)
    for name in ("text_features", *OPTIONAL):
        if (array := getattr(prompts, name)) is None:
            continue
        if name not in allowed:
            raise ValueError(f"{path}: {name}: the image tower of its model takes no token prompts")
        if array.dtype != np.float32 or not fits(array.shape, allowed[name]):
            shape = ", ".join("any" if count is None else str(count) for count in allowed[name])
            raise ValueError(f"{path}: {name} of {array.dtype} {array.shape}; float32 ({shape}) is needed")
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds NaN or inf")
        if name in ("text_features", "experts") and (abs(np.linalg.norm(array, axis=-1) - 1) > UNIT).any():
            raise ValueError(f"{path}: {name} are not of unit norm")
    if prompts.tokens is not None and prompts.tokens.shape[1] > (depth := len(clip.model.visual.transformer.resblocks)):
        raise ValueError(f"{path}: tokens of {prompts.tokens.shape[1]} blocks; the image tower has {depth}")
    if not np.isclose(prompts.logit_scale, clip.logit_scale, rtol=UNIT):
        raise ValueError(f"{path}: logit_scale is {prompts.logit_scale}; that of the model is {clip.logit_scale}")


def shapes_of(prompts: PromptFile, clip: Clip) -> dict[str, Shape]:
    """Return the shape that each array of prompts may have with a model; None is any length but 0."""
    seeds, classes, size = len(prompts.text_features), len(prompts.class_names), clip.image_size
    width, text_width = len(blank_feature(clip)), TextTower(clip.model, clip.tokenizer).width
    is_shared = prompts.context is None or prompts.context.ndim == 3
    shapes: dict[str, Shape] = {
        "text_features": (seeds, classes, width),
        "context": (seeds, None, text_width) if is_shared else (seeds, classes, None, text_width),
        "logit_bias": (seeds, classes),
        "pixels": (seeds, 3, size, size),
        "router": (seeds, None, width),
        "experts": (seeds, None if prompts.router is None else prompts.router.shape[1], classes, width),
    }
    if token_prompts_fit(clip.model.visual):
        token_width = clip.model.visual.class_embedding.shape[-1]
        shapes |= {"tokens": (seeds, None, None, token_width), "projection": (seeds, None, token_width, text_width)}
    return shapes


def fits(shape: tuple[int, ...], allowed: Shape) -> bool:
    """Return whether an array has an allowed shape."""
    return len(shape) == len(allowed) and all(
        count > 0 and wanted in (count, None) for count, wanted in zip(shape, allowed, strict=True)
    )
