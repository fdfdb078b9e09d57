"""The typed blocks of params.yaml; unknown, missing or impossible values are refused here, before any work.

No stage lists this file as a dependency: the values are keys of the stages already, and its defaults leave something
out, such as Square or further starts. Other defaults stand in `method_blocks.py`, which is a dependency. Code that
computes with values belongs in another room, whose changes make a stage run again.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML  # the parser of DVC, so that both read the same numbers

from stages.runtime.block import (
    Block,
    Context,
    Count,
    Eps,
    MethodBlock,
    NotNegative,
    Positive,
    Schedule,
    Share,
    WholeEps,
    in_255ths,
)
from stages.runtime.cores import available_cores
from stages.runtime.method_blocks import RANDOM, AdversarialBlock, Defended, RTpt

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # tuning draws from 1000 seeds for each of these

# names of a threat, of studies, of a file of predictions, and of folders beside the images of a threat
RESERVED = ("clean", "all", "base", "new", "oblivious", "drawn", "shards", "features")

EMPTY = {  # what pydantic calls the fault of a key with nothing behind it
    "dict_type": "nothing stands there; blocks by name are allowed, {} for none",
    "list_type": "nothing stands there; a list is allowed",
    "model_type": "nothing stands there; a block of keys is allowed",
    "model_attributes_type": "nothing stands there; a block of keys is allowed, or no such name",
}


class Runtime(Block):
    """Settings of a run; they change no result."""

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
    visual_weights: str | None = None
    visual_sha256: str | None = None

    @model_validator(mode="after")
    def _own_file(self) -> "Model":
        """Of a file of one's own, the digest is the only key that changes with its content."""
        if bool(self.visual_weights) != bool(self.visual_sha256):
            raise ValueError(
                "visual_weights and visual_sha256 have to be stated together, a file and what `sha256sum` prints for "
                f"it (got {self.visual_weights} and {self.visual_sha256})"
            )
        if self.sha256 is None and os.path.isfile(self.pretrained or ""):  # noqa: PTH113 - pathlib raises on long ones
            raise ValueError(f"sha256 has to be stated for a file; `sha256sum {self.pretrained}` prints it (got null)")
        return self


class Fetch(Block):
    """Rules by which raw images are listed and checked."""

    held_out: Annotated[float, Field(gt=0, lt=1)]
    overlap_limit: Share


class Data(Block):
    """Images that take part."""

    shots: Count | Literal["all"]
    test_images: Count | Literal["all"]
    validation: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
    shard_rows: Count

    def of(self, split: str) -> dict[str, Any]:
        """Return the keys that decide which images of a split take part: each split is chosen without the other."""
        return self.model_dump(exclude={"test_images" if split == "train" else "shots"})


class Attack(Block):
    """Keys of every L-infinity attack."""

    eps: Annotated[Eps, AfterValidator(in_255ths)]


class Stepped(Attack):
    """Keys of every attack by gradient steps."""

    steps: Count
    step_ratio: Positive


class Started(Stepped):
    """Keys of PGD without a method; of several starts the one that its objective prefers."""

    start: Literal["uniform", "one_sided", "small"] = "uniform"
    restarts: Count = 1


class FeaturePgd(Started):
    """PGD on the raw image embedding, without label or text."""

    method: Literal["feature_pgd"]
    objective: Literal["kl", "cosine", "l2"]


class HandwrittenPgd(Started):
    """PGD on the logits of the hand-written prompt, with the labels."""

    method: Literal["handwritten_pgd"]
    objective: Literal["cross_entropy", "margin"]


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
    """Return which of the two kinds of surrogate a block describes, by its name."""
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


class Adaptive(Attack):
    """Keys of every attack through the method under test; `samples` are draws of a random defence for each step."""

    images: Count | Literal["all"]
    tuning_seeds: Count
    samples: Count = 1


class PromptPgd(Adaptive, Stepped):
    """PGD, the worst over some random starts."""

    method: Literal["pgd"]
    objective: Literal["cross_entropy", "margin", "dlr"]
    restarts: Count


class Suite(Adaptive):
    """Cross-entropy, margin, one nearby wrong class after the other, Square, each on the images that are left."""

    method: Literal["suite"]
    steps: Count
    restarts: Count
    targets: Count
    queries: Annotated[int, Field(ge=0)] = 0


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
    """Attacks on the evaluation itself."""

    method: Annotated[str, Field(pattern=r"^[a-z0-9_]+/[a-z0-9_]+$")]
    images: Count | Literal["all"]
    at_eps: WholeEps
    eps: Annotated[list[WholeEps], Field(min_length=2)]
    steps: Annotated[list[Count], Field(min_length=2)]
    autoattack_images: Count
    queries: Count

    @model_validator(mode="after")
    def _in_order(self) -> "Assess":
        """Refuse an order in which a measurement would stand in the wrong place of a curve, or twice."""
        for name, values in (("eps", self.eps), ("steps", self.steps)):
            if values != sorted(set(values)):
                raise ValueError(f"assess.{name} ({values}) has to ascend, each value once")
        if self.at_eps not in self.eps:
            raise ValueError(f"assess.at_eps ({self.at_eps}) has to be one of assess.eps ({self.eps})")
        return self


class Tune(Context, Schedule):
    """The context of methods of the kind `context`, and how methods are tuned on stored embeddings."""

    clean_fraction: Share
    temperature: Positive
    tuning_seeds: Count
    lr: Positive


class ZeroShot(MethodBlock):
    """A hand-written prompt: the template of the data set, or the ensemble of the 80 templates of CLIP's paper."""

    templates: Literal["dataset", "openai_80"]


def optional_keys(block: type[Block]) -> dict[str, Any]:
    """Return the fields of a block, none of them required, as `create_model` takes them."""
    typed = {name: (field.annotation, *field.metadata) for name, field in block.model_fields.items()}
    return {name: (kinds[0] if len(kinds) == 1 else Annotated[kinds], None) for name, kinds in typed.items()}


# Keys of the block `tune` that a method may override. They are merged here and not by an anchor in params.yaml, which
# would write the old value into every method when an experiment sets `tune.lr`.
Overrides: Any = create_model("Overrides", __base__=MethodBlock, **optional_keys(Tune))


class Tuned(Overrides):
    """A method that is tuned on stored embeddings; its keys override those of the block `tune`.

    `kind` names the module of stages/prompts/learners that says what is tuned.
    """

    kind: Literal[
        "context",
        "bias",
    ] = "context"

    @property
    def unused(self) -> set[str]:
        """Return the keys of the block `tune` that say nothing about a method of this kind."""
        return set() if self.kind == "context" else set(Context.model_fields)

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> "Tuned":
        """Refuse keys that would change nothing."""
        if stray := sorted(self.model_fields_set & self.unused):
            raise ValueError(f"{', '.join(stray)}: kind {self.kind!r} has no context; allowed for kind 'context' alone")
        return self

    def fits_other_classes(self, defaults: Tune) -> bool:
        """Return whether it is a shared context, by the block `tune` or its own keys."""
        return self.kind == "context" and not self.tune(defaults).class_specific

    def tune(self, defaults: Tune) -> Tune:
        """Return the block `tune` with what this method changes of it.

        Raises:
            ValueError: If the two do not go together.
        """
        changes = self.model_dump(include=self.model_fields_set & set(Tune.model_fields))
        return Tune(**{**defaults.model_dump(), **changes})


class Refreshed(Tuned):
    """A method tuned in rounds, in each of which the training images are attacked through it."""

    rounds: Count
    objective: Literal["cross_entropy", "margin"]
    eps: Annotated[list[Annotated[Eps, AfterValidator(in_255ths)]], Field(min_length=1)]
    steps: Count
    step_ratio: Positive


class Method(NamedTuple):
    """One method: its group, which is the stage that makes it, its name and its block."""

    group: str
    name: str
    block: MethodBlock

    @property
    def label(self) -> str:
        return self.block.label or self.name

    def settings(self, tune: "Tune") -> dict[str, Any]:
        """Return all that decides about the result, the block `tune` merged in; goes into the method's provenance."""
        block, named = self.block, {"label", "baseline"}
        if not isinstance(block, Tuned):
            return block.model_dump(exclude=named)
        tuning = block.tune(tune).model_dump(exclude=block.unused)
        return tuning | block.model_dump(exclude={*named, *Tune.model_fields})


class Methods(Block):
    """All methods, by the stage that makes them."""

    zero_shot: Annotated[dict[str, ZeroShot], Field(min_length=1)]
    tune_clean: dict[str, Tuned]
    tune_bank: dict[str, Tuned]
    refresh: dict[str, Refreshed]
    adversarial: dict[str, AdversarialBlock]
    defended: dict[str, Defended]

    def all(self) -> list[Method]:
        """Return every method, in the order of params.yaml's groups."""
        groups = {group: getattr(self, group) for group in Methods.model_fields}
        return [Method(group, name, block) for group, blocks in groups.items() for name, block in blocks.items()]

    def find(self, group: str, name: str) -> Method:
        """Return one method.

        Raises:
            ValueError: If there is none of that name; the message lists those that there are.
        """
        methods = {f"{method.group}/{method.name}": method for method in self.all()}
        if found := methods.get(f"{group}/{name}"):
            return found
        raise ValueError(f"methods: no {group}/{name}; there are: {', '.join(methods)}")


class Transfers(Block):
    """Contexts that are attached again to the class names of other data sets: each source to each target."""

    sources: list[str]
    targets: list[str]


class Params(Block):
    moved: ClassVar[dict[str, str]] = {
        "hand": "write methods: {zero_shot: {zero_shot: {templates: dataset}}} (openai_80 for `ensemble`)",
        "refresh": "write its keys and those of its block `tune` in methods: {refresh: {advpt_refreshed: {...}}}",
        "defences": "write methods: {defended: {advpt_jpeg: {method: advpt, defence: {kind: jpeg, quality: 75}}}}",
    }

    datasets: Annotated[list[str], Field(min_length=1)]
    test_only: list[str]
    transfer: Transfers
    base_to_new: list[str]
    seed: Seed
    runtime: Runtime
    model: Model
    fetch: Fetch
    data: Data
    attack: FeaturePgd
    tune: Tune
    methods: Methods
    oblivious: dict[str, Annotated[FeaturePgd | HandwrittenPgd | Transfer, Field(discriminator="method")]]
    adaptive: dict[str, Annotated[AdaptiveAttack, Field(discriminator="method")]]
    assess: Assess

    def with_runtime(self, changes: dict[str, Any]) -> "Params":
        """These parameters with some keys of `runtime` changed, which changes no result."""
        return self.model_copy(update={"runtime": Runtime(**{**self.runtime.model_dump(), **changes})})

    @model_validator(mode="after")
    def _names(self) -> "Params":
        """Names become stage and file names: DVC joins them by hyphens, rows tell threats apart by name alone."""
        lists = {key: getattr(self, key) for key in ("datasets", "test_only", "oblivious", "adaptive")}
        for key, names in {**lists, "methods": [method.name for method in self.methods.all()]}.items():
            for name in names:
                reserved = name in RESERVED or name.startswith("worst_")
                if not re.fullmatch(r"[a-z0-9_]+", name) or reserved:
                    raise ValueError(
                        f"{key}: name {name!r}: lower-case letters, digits, underscores are allowed, and not "
                        f"{', '.join(map(repr, RESERVED))}, 'worst_...'"
                    )
        if both := set(self.oblivious) & set(self.adaptive):
            raise ValueError(f"threat {min(both)!r} is in oblivious and in adaptive; rename one")
        return self

    @model_validator(mode="after")
    def _tuning_of_methods(self) -> "Params":
        """Refuse methods whose changes do not go with the block `tune`."""
        for group, name, block in self.methods.all():
            if isinstance(block, Tuned):
                try:
                    block.tune(self.tune)
                except ValidationError as error:
                    told = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
                    raise ValueError(f"methods.{group}.{name}: {told}") from error
        return self

    @model_validator(mode="after")
    def _references_between_methods(self) -> "Params":
        """Refuse names that two methods share, and references to methods that are not there."""
        names = [method.name for method in self.methods.all()]
        if doubled := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"methods: {doubled[0]!r} is named twice; a name stands in one group")
        plain = {method.name: method for method in self.methods.all() if method.group != "defended"}
        for group in type(self.methods).model_fields:
            if self.methods.defended and not getattr(self.methods, group):
                raise ValueError(
                    f"methods.{group}: empty, but the stage `defend` reads every group; write a block there, such as "
                    "that of the default, or remove methods.defended"
                )
        for group, name, block in self.methods.all():
            if block.baseline is not None and block.baseline not in set(names) - {name}:
                there = f"there are: {', '.join(names)}"
                raise ValueError(f"methods.{group}.{name}.baseline: no other method {block.baseline!r}; {there}")
            if isinstance(block, Defended) and block.method not in plain:
                there = f"there are: {', '.join(plain)}"
                raise ValueError(f"methods.{group}.{name}.method: no undefended {block.method!r}; {there}")
            if isinstance(block, Defended) and isinstance(block.defence, RTpt):
                settings = plain[block.method].settings(self.tune)
                if settings.get("class_specific") or settings.get("kind") == "moapt":
                    raise ValueError(
                        f"methods.{group}.{name}.method: r_tpt tunes one context, but {block.method!r} has several; a "
                        "method with a shared context, or with none, is allowed"
                    )
        self.methods.find(*self.assess.method.split("/"))
        return self

    @model_validator(mode="after")
    def _attacks_on_random_defences(self) -> "Params":
        """Refuse attacks that assume the same logits at every call where a method's defence is random."""
        random = [name for name, block in self.methods.defended.items() if isinstance(block.defence, RANDOM)]
        if self.assess.method in {f"defended/{name}" for name in random}:
            raise ValueError(
                f"assess.method: {self.assess.method} has a random defence, whose logits are not the same at every "
                "call; another method is allowed; judge this one by suite with samples > 1"
            )
        for name, threat in self.adaptive.items():
            if isinstance(threat, PromptPgd | Suite):
                continue
            if threat.samples > 1:
                raise ValueError(
                    f"adaptive.{name}.samples: {threat.method} takes no samples; 1 is allowed, or suite, or pgd"
                )
            if random:
                raise ValueError(
                    f"adaptive.{name}: {threat.method} is no attack on the random defence of methods.defended."
                    f"{random[0]}; use suite or pgd, samples > 1, or remove the method"
                )
        return self

    @model_validator(mode="after")
    def _lists_of_data_sets(self) -> "Params":
        """Refuse a transfer of a data set that is not listed, or listed twice: two stages would make one file."""
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
        bound = [
            f"methods.{group}.{name}"
            for group, name, block in self.methods.all()
            if not block.fits_other_classes(self.tune)
        ]
        if studies and bound:
            raise ValueError(
                f"{', '.join(bound)}: transfer and base_to_new need other classes, and only shared contexts fit them; "
                f"set class_specific to false where it is true, or remove the method: "
                + " ".join(f"-S '~{key}'" for key in bound)
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


def describe(fault: ErrorDetails) -> str:
    """One fault as `key: what is allowed (got ...)`."""
    loc = [part for part in fault["loc"] if part not in ("int", "constrained-int", "literal['all']")]
    # by the method, pydantic tells kinds of blocks apart: it stands behind a threat's name and behind these two keys
    tagged = {2} if loc and loc[0] in ("oblivious", "adaptive") else set()
    tagged |= {index + 1 for index, part in enumerate(loc) if part in ("defence", "surrogate")}
    tagged |= {3} if loc[:2] == ["methods", "adversarial"] else set()
    key = ".".join(str(part) for index, part in enumerate(loc) if index not in tagged)
    got = "" if isinstance(fault["input"], dict | list) else f" (got {fault['input']!r})"
    allowed = fault["msg"].removeprefix("Value error, ")
    if fault["input"] is None:
        allowed = EMPTY.get(fault["type"], allowed)
    if fault["type"] == "too_short":
        allowed = f"too few; write at least {fault['ctx']['min_length']} there, as the committed params.yaml does"
    return f"{key or 'top level'}: {allowed}{got}"


def threat_of(threats: dict[str, Any], name: str) -> Any:
    """Looks a threat up by name.

    Raises:
        ValueError: If there is none of that name; the message lists those that there are.
    """
    if name not in threats:
        raise ValueError(f"no threat called {name!r}; there are: {', '.join(threats)}")
    return threats[name]
