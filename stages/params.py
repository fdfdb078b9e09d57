"""The typed blocks of params.yaml; unknown, missing or impossible values stop here, before any work.

No stage lists this file as a dependency: the values are keys of the stages already.
"""

import math
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML  # the parser of DVC, so that both read the same numbers
from ruamel.yaml.error import YAMLError

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # tuning draws from 1000 seeds for each of these

SMALLEST_BATCH = 32


def in_255ths(eps: float) -> float:
    """Refuses an eps that was meant as a fraction of the pixel range, or that 8-bit images cannot reach."""
    if 0 < eps < 1:
        raise ValueError(
            "the unit is 1/255 of the pixel range; whole numbers from 0 to 255 are allowed "
            f"(did you mean {eps * 255:.3g}?)"
        )
    if eps != round(eps):
        raise ValueError("stored images have 8 bits and move by whole steps of 1/255; whole numbers are allowed")
    return eps


class Block(BaseModel):
    """A block of params.yaml: every key is known, every value has exactly its type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def known(cls, values: Any) -> Any:
        """Names the nearest key for one that does not exist."""
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                near = get_close_matches(str(key), cls.model_fields, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(cls.model_fields)}"
                raise ValueError(f"unknown key {key!r}; {hint}")
        return values


class Runtime(Block):
    """How to run; changes no result."""

    device: Literal["auto", "cpu", "cuda"]
    batch_size: Count
    workers: Count | None

    def workers_on(self, device: str) -> int:
        """Batches side by side: as many as stated, else one per core on the CPU and one on a GPU."""
        return self.workers or ((os.cpu_count() or 1) if device == "cpu" else 1)

    def batches(self, count: int, device: str) -> int:
        """How many even batches of at most `batch_size` images keep all workers busy to the end.

        Workers alone never make a batch smaller than SMALLEST_BATCH: below that, matrix products take other kernels,
        whose sums differ in the last bit.
        """
        workers = self.workers_on(device)
        busy = workers * math.ceil(count / (workers * self.batch_size))
        return max(math.ceil(count / self.batch_size), min(busy, count // SMALLEST_BATCH))


class Model(Block):
    """The CLIP that is defended."""

    name: str
    pretrained: str | None
    sha256: str | None


class Fetch(Block):
    """How raw images are listed and checked."""

    held_out: Annotated[float, Field(gt=0, lt=1)]
    overlap_limit: Share


class Data(Block):
    """Which images take part."""

    shots: Count | Literal["all"]
    test_images: Count | Literal["all"]
    shard_rows: Count


class Attack(Block):
    """What every L-infinity attack has."""

    eps: Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]
    steps: Count
    step_ratio: Positive

    @field_validator("eps")
    @classmethod
    def _unit(cls, eps: float) -> float:
        return in_255ths(eps)


class FeaturePgd(Attack):
    """PGD on the raw image embedding, without label or text."""

    method: Literal["feature_pgd"]
    objective: Literal["kl", "cosine", "l2"]


class Surrogate(Block):
    """The small CNN of a transfer attack and its training."""

    width: Count
    epochs: Count
    batch_size: Count
    lr: Positive


class Transfer(Attack):
    """Momentum and input diversity on a surrogate."""

    method: Literal["transfer"]
    momentum: NotNegative
    diversity: Share
    smallest: Annotated[float, Field(gt=0, le=1)]
    surrogate: Surrogate


class PromptPgd(Attack):
    """PGD through the very prompt under test."""

    method: Literal["pgd"]
    objective: Literal["cross_entropy", "margin"]
    images: Count | Literal["all"]
    tuning_seeds: Count


class Tune(Block):
    """The prompts and their tuning."""

    context_length: Count
    class_position: Literal["end", "middle", "front"]
    class_specific: bool
    init_words: str | None
    init_std: Positive
    clean_fraction: Share
    tuning_seeds: Count
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    warmup_epochs: Annotated[int, Field(ge=0)]
    warmup_lr: Positive


class Transfers(Block):
    """Which contexts are re-attached to the class names of which data sets: each source to each target."""

    sources: list[str]
    targets: list[str]


class Params(Block):
    """All of params.yaml."""

    datasets: Annotated[list[str], Field(min_length=1)]
    test_only: list[str]
    transfer: Transfers
    base_to_new: list[str]
    seed: Seed
    runtime: Runtime
    model: Model
    fetch: Fetch
    data: Data
    hand: Literal["template", "ensemble"]
    attack: FeaturePgd
    tune: Tune
    oblivious: dict[str, Annotated[FeaturePgd | Transfer, Field(discriminator="method")]]
    adaptive: dict[str, PromptPgd]

    @model_validator(mode="after")
    def _names(self) -> "Params":
        """Names become stage and file names: DVC joins them by hyphens, rows tell threats apart by name alone."""
        for name in [*self.datasets, *self.test_only, *self.oblivious, *self.adaptive]:
            if not re.fullmatch(r"[a-z0-9_]+", name) or name == "clean":
                raise ValueError(
                    f"name {name!r}: lower-case letters, digits and underscores are allowed, and not 'clean'"
                )
        if both := set(self.oblivious) & set(self.adaptive):
            raise ValueError(f"threat {min(both)!r} is in oblivious and in adaptive; rename one")
        return self

    @model_validator(mode="after")
    def _lists_of_data_sets(self) -> "Params":
        """Whoever takes part in a transfer must be there, and nobody twice, or two stages would make one file."""
        known = [*self.datasets, *self.test_only]
        lists = {
            "transfer.sources": (self.transfer.sources, self.datasets, "datasets"),
            "transfer.targets": (self.transfer.targets, known, "datasets or test_only"),
            "base_to_new": (self.base_to_new, self.datasets, "datasets"),
        }
        for key, (names, allowed, where) in {"datasets": (known, known, ""), **lists}.items():
            if missing := [name for name in names if name not in allowed]:
                raise ValueError(f"{key}: {missing[0]!r} is not under {where}")
            if doubled := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{key}: {doubled[0]!r} is named twice (`datasets` and `test_only` count as one list)")
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Reads and checks all parameters.

    Raises:
        ValueError: With one line for each fault: the key, what was got, what is allowed.
    """
    try:
        return Params.model_validate(YAML(typ="safe").load(path))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: missing; run from the top folder of the project") from error
    except YAMLError as error:
        raise ValueError(f"{path}: no valid YAML: {error}") from error
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {line}" for line in map(describe, error.errors()))) from error


def describe(fault: dict[str, Any]) -> str:
    """One fault as `key: what is allowed (got ...)`."""
    loc = [part for part in fault["loc"] if part not in ("int", "literal['all']")]
    if loc[:1] == ["oblivious"] and len(loc) > 2:
        del loc[2]  # the method, by which pydantic tells the kinds of threats apart
    key = ".".join(map(str, loc))
    got = "" if isinstance(fault["input"], dict | list) else f" (got {fault['input']!r})"
    return f"{key or 'top level'}: {fault['msg'].removeprefix('Value error, ')}{got}"


def threat_of(threats: dict[str, Any], name: str) -> Any:
    """Looks a threat up by name.

    Raises:
        ValueError: If there is none of that name; the message lists those that there are.
    """
    if name not in threats:
        raise ValueError(f"no threat called {name!r}; there are: {', '.join(threats)}")
    return threats[name]
