"""The typed blocks of params.yaml; unknown, missing or impossible values stop here, before any work.

No stage lists this file as a dependency: the values are keys of the stages already. Code that computes with
them belongs in another file, whose changes make a stage run again.
"""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML  # the parser of DVC, so that both read the same numbers

from stages.runtime.cores import available_cores

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # tuning draws from 1000 seeds for each of these

EMPTY = {  # what pydantic calls the fault of a key with nothing behind it
    "dict_type": "nothing stands there; blocks by name are allowed, {} for none",
    "list_type": "nothing stands there; a list is allowed",
    "model_type": "nothing stands there; a block of keys is allowed",
    "model_attributes_type": "nothing stands there; a block of keys is allowed, or no such name",
}


def no_fraction(eps: Any) -> Any:
    """Refuses an eps that was meant as a fraction of the pixel range."""
    if isinstance(eps, float) and 0 < eps < 1:
        raise ValueError(
            f"the unit is 1/255 of the pixel range; whole numbers up to 255 are allowed (did you mean {eps * 255:.3g}?)"
        )
    return eps


def in_255ths(eps: float) -> float:
    """Refuses an eps that 8-bit images cannot reach."""
    if eps != round(eps):
        raise ValueError("stored images have 8 bits and move by whole steps of 1/255; whole numbers are allowed")
    return eps


Eps = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False), AfterValidator(no_fraction)]
WholeEps = Annotated[int, Field(ge=1, le=255), BeforeValidator(no_fraction)]


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
    engine: Literal["local", "ray"]
    actor_cpus: Count

    def workers_on(self, device: str) -> int:
        """Batches side by side: as many as stated, else one per core that may be used on the CPU, and two on a GPU.

        Two, so that the noise of one batch is drawn and its result stored while the GPU has the other one.
        """
        return self.workers or (available_cores() if device == "cpu" else 2)


class Model(Block):
    """The CLIP that is defended."""

    name: str
    pretrained: str | None
    sha256: str | None
    precision: Literal["auto", "fp32", "bf16"]

    @model_validator(mode="after")
    def _own_file(self) -> "Model":
        """Of a file of one's own, the digest is the only key that changes with its content."""
        if self.sha256 is None and os.path.isfile(self.pretrained or ""):  # noqa: PTH113 - pathlib raises on long ones
            raise ValueError(f"sha256 has to be stated for a file; `sha256sum {self.pretrained}` prints it (got null)")
        return self


class Fetch(Block):
    """How raw images are listed and checked."""

    held_out: Annotated[float, Field(gt=0, lt=1)]
    overlap_limit: Share


class Data(Block):
    """Which images take part."""

    shots: Count | Literal["all"]
    test_images: Count | Literal["all"]
    validation: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
    shard_rows: Count


class Attack(Block):
    """What every L-infinity attack has."""

    eps: Annotated[Eps, AfterValidator(in_255ths)]


class Stepped(Attack):
    """What every attack by gradient steps has."""

    steps: Count
    step_ratio: Positive


class FeaturePgd(Stepped):
    """PGD on the raw image embedding, without label or text; of several starts the one that its objective prefers."""

    method: Literal["feature_pgd"]
    objective: Literal["kl", "cosine", "l2"]
    start: Literal["uniform", "one_sided"] = "uniform"
    restarts: Count = 1


class SmallCnn(Block):
    """A small CNN, trained on the training split."""

    name: Literal["small_cnn"]
    width: Count
    epochs: Count
    batch_size: Count
    lr: Positive


class Backbone(Block):
    """A network of torchvision, timm or open_clip; a linear head on its features is fitted to the training split."""

    name: Annotated[str, Field(pattern=r"^(torchvision|timm|open_clip):.+")]
    pretrained: str | None
    epochs: Count
    batch_size: Count
    lr: Positive


class Reverse(Block):
    """The reverse perturbation of RAP, which makes an adversarial image survive where the loss is worst for it."""

    eps: Eps
    steps: Count
    from_step: Annotated[int, Field(ge=0)]


def kind_of_surrogate(values: Any) -> str:
    """Which of the two kinds of surrogate a block describes, by its name."""
    name = values.get("name") if isinstance(values, dict) else getattr(values, "name", None)
    return "backbone" if isinstance(name, str) and ":" in name else "small_cnn"


class Transfer(Stepped):
    """Momentum and input diversity on a surrogate; with `translation` TI-FGSM, with `reverse` RAP."""

    method: Literal["transfer"]
    objective: Literal["cross_entropy", "max_logit"]
    momentum: NotNegative
    diversity: Share
    smallest: Annotated[float, Field(gt=0, le=1)]
    translation: Literal[3, 5, 7, 9, 11, 13, 15] | None = None
    reverse: Reverse | None = None
    surrogate: Annotated[
        Annotated[SmallCnn, Tag("small_cnn")] | Annotated[Backbone, Tag("backbone")], Discriminator(kind_of_surrogate)
    ]


class Jpeg(Block):
    """JPEG compression."""

    method: Literal["jpeg"]
    quality: Annotated[int, Field(ge=1, le=100)]


class Bits(Block):
    """Fewer bits per channel."""

    method: Literal["bits"]
    bits: Annotated[int, Field(ge=1, le=8)]


class Median(Block):
    """Median filter, per channel."""

    method: Literal["median"]
    size: Annotated[int, Field(ge=2)]


class Gaussian(Block):
    """Gaussian smoothing, per channel; sigma in pixels."""

    method: Literal["gaussian"]
    sigma: Positive


class TotalVariation(Block):
    """Total-variation denoising."""

    method: Literal["total_variation"]
    weight: Positive


class Wavelet(Block):
    """Wavelet denoising by BayesShrink; sigma of the noise, in units of the pixel range."""

    method: Literal["wavelet"]
    sigma: Positive


class ResizePad(Block):
    """Random shrinking and zero padding; the smallest side as a share of the image's."""

    method: Literal["resize_pad"]
    smallest: Annotated[float, Field(gt=0, le=1)]


Defence = Annotated[
    Jpeg | Bits | Median | Gaussian | TotalVariation | Wavelet | ResizePad, Field(discriminator="method")
]


class Adaptive(Attack):
    """What every attack through the very prompt under test has."""

    images: Count | Literal["all"]
    tuning_seeds: Count
    defence: Defence | None = None
    samples: Count = 1


class PromptPgd(Adaptive, Stepped):
    """PGD, the worst over some random starts."""

    method: Literal["pgd"]
    objective: Literal["cross_entropy", "margin", "dlr"]
    restarts: Count


class Suite(Adaptive):
    """Cross-entropy, then one nearby wrong class after the other, each on the images that are left."""

    method: Literal["suite"]
    steps: Count
    restarts: Count
    targets: Count


class AutoAttack(Adaptive):
    """AutoAttack: `fast` is APGD on the cross-entropy and targeted APGD, `standard` adds FAB and Square."""

    method: Literal["autoattack"]
    version: Literal["fast", "standard"]
    batch_size: Count


class Square(Adaptive):
    """Square, the black-box attack by queries."""

    method: Literal["square"]
    queries: Count
    batch_size: Count


AdaptiveAttack = PromptPgd | Suite | AutoAttack | Square


class Assess(Block):
    """How the evaluation itself is attacked."""

    prompt: Literal["coop", "advpt", "advpt_refreshed"]
    images: Count | Literal["all"]
    at_eps: WholeEps
    eps: Annotated[list[WholeEps], Field(min_length=2)]
    steps: Annotated[list[Count], Field(min_length=2)]
    autoattack_images: Count
    queries: Count

    @model_validator(mode="after")
    def _in_order(self) -> "Assess":
        """Else a measurement would stand in the wrong place of a curve, or twice."""
        for name, values in (("eps", self.eps), ("steps", self.steps)):
            if values != sorted(set(values)):
                raise ValueError(f"assess.{name} ({values}) has to ascend, each value once")
        if self.at_eps not in self.eps:
            raise ValueError(f"assess.at_eps ({self.at_eps}) has to be one of assess.eps ({self.eps})")
        return self


class Tune(Block):
    """The prompts and their tuning."""

    context_length: Count
    class_position: Literal["end", "middle", "front"]
    class_specific: bool
    init_words: str | None
    init_std: Positive
    clean_fraction: Share
    temperature: Positive
    tuning_seeds: Count
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    warmup_epochs: Annotated[int, Field(ge=0)]
    warmup_lr: Positive

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "Tune":
        """Else nothing would be tuned."""
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) has to be less than epochs ({self.epochs})")
        return self


class Retune(Block):
    """What tuning on a refreshed bank does otherwise than the block `tune`."""

    class_specific: bool
    context_length: Count
    init_words: str | None
    clean_fraction: Share
    temperature: Positive
    epochs: Count
    lr: Positive


class Refresh(Block):
    """The rounds in which the training images are attacked through the prompts, and tuned on."""

    start: Literal["hand", "advpt"]
    rounds: Count
    objective: Literal["cross_entropy", "margin", "runner_up"]
    eps: Annotated[list[Annotated[Eps, AfterValidator(in_255ths)]], Field(min_length=1)]
    steps: Count
    step_ratio: Positive
    keep: Literal["all", "last"]
    tune: Retune

    def changed(self, tune: Tune) -> Tune:
        """How prompts are tuned on the refreshed bank: the block `tune` with what `refresh.tune` changes of it."""
        return Tune(**{**tune.model_dump(), **self.tune.model_dump()})


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
    refresh: Refresh
    oblivious: dict[str, Annotated[FeaturePgd | Transfer, Field(discriminator="method")]]
    defences: dict[str, Defence]
    adaptive: dict[str, Annotated[AdaptiveAttack, Field(discriminator="method")]]
    assess: Assess

    def with_runtime(self, changes: dict[str, Any]) -> "Params":
        """These parameters with some keys of `runtime` changed, which changes no result."""
        return self.model_copy(update={"runtime": Runtime(**{**self.runtime.model_dump(), **changes})})

    @model_validator(mode="after")
    def _refreshed_tuning(self) -> "Params":
        """Refuses values that do not go with those of `tune`."""
        if self.refresh.tune.epochs <= self.tune.warmup_epochs:
            raise ValueError(
                f"refresh.tune.epochs ({self.refresh.tune.epochs}) has to be more than tune.warmup_epochs "
                f"({self.tune.warmup_epochs})"
            )
        return self

    @model_validator(mode="after")
    def _names(self) -> "Params":
        """Names become stage and file names: DVC joins them by hyphens, rows tell threats apart by name alone."""
        for key in ("datasets", "test_only", "oblivious", "adaptive", "defences"):
            for name in getattr(self, key):
                if not re.fullmatch(r"[a-z0-9_]+", name) or name == "clean" or name.startswith("worst_"):
                    raise ValueError(
                        f"{key}: name {name!r}: lower-case letters, digits, underscores are allowed, and not 'clean', "
                        "'worst_...'"
                    )
        if both := set(self.oblivious) & set(self.adaptive):
            raise ValueError(f"threat {min(both)!r} is in oblivious and in adaptive; rename one")
        return self

    @model_validator(mode="after")
    def _defences_of_adaptive_threats(self) -> "Params":
        """Robust means right on the clean image, too, and through the same defence: there have to be such rows."""
        for name, threat in self.adaptive.items():
            if threat.defence and threat.defence not in self.defences.values():
                raise ValueError(f"adaptive.{name}.defence: the same block has to stand under `defences`, by some name")
            if threat.samples > 1 and not isinstance(threat, PromptPgd):
                raise ValueError(f"adaptive.{name}.samples: {threat.method} takes no samples; 1 is allowed, or pgd")
            if isinstance(threat.defence, ResizePad) and not isinstance(threat, PromptPgd):
                raise ValueError(
                    f"adaptive.{name}: {threat.method} is no attack on a random defence; use pgd, samples > 1"
                )
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
        studies = {f"{source}_to_{target}" for source in self.transfer.sources for target in self.transfer.targets}
        studies |= {f"{name}_{half}" for name in self.base_to_new for half in ("base", "new")}
        if taken := studies & set(known):
            raise ValueError(
                f"datasets: {min(taken)!r} is what a transfer or a half of the classes is called; rename it"
            )
        for key, tune in {"tune": self.tune, "refresh.tune": self.refresh.tune}.items():
            if tune.class_specific and studies:
                raise ValueError(
                    f"{key}.class_specific: contexts of single classes cannot move to others; false is allowed"
                )
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Reads and checks all parameters.

    Raises:
        ValueError: With one line for each fault: the key, what was got, what is allowed.
    """
    try:
        return Params.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {line}" for line in map(describe, error.errors()))) from error


def read_yaml(path: Path) -> Any:
    """Parses a file.

    Raises:
        ValueError: If it is missing, unreadable or no YAML.
    """
    try:
        return YAML(typ="safe").load(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: missing; run from the top folder of the project") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error}); a readable file is allowed") from error
    except Exception as error:  # the parser's own, and what Python says of month 13, or of a bracket opened 1000 times
        raise ValueError(f"{path}: no valid YAML: {error or repr(error)}") from error


def describe(fault: dict[str, Any]) -> str:
    """One fault as `key: what is allowed (got ...)`."""
    loc = [part for part in fault["loc"] if part not in ("int", "constrained-int", "literal['all']")]
    # by the method, pydantic tells kinds of blocks apart: it stands behind a threat's name and behind these two keys
    tagged = {2} if loc and loc[0] in ("oblivious", "adaptive", "defences") else set()
    tagged |= {index + 1 for index, part in enumerate(loc) if part in ("defence", "surrogate")}
    key = ".".join(str(part) for index, part in enumerate(loc) if index not in tagged)
    got = "" if isinstance(fault["input"], dict | list) else f" (got {fault['input']!r})"
    allowed = fault["msg"].removeprefix("Value error, ")
    if fault["input"] is None:
        allowed = EMPTY.get(fault["type"], allowed)
    return f"{key or 'top level'}: {allowed}{got}"


def threat_of(threats: dict[str, Any], name: str) -> Any:
    """Looks a threat up by name.

    Raises:
        ValueError: If there is none of that name; the message lists those that there are.
    """
    if name not in threats:
        raise ValueError(f"no threat called {name!r}; there are: {', '.join(threats)}")
    return threats[name]
