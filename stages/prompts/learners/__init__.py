"""Parameters that a method learns: one module for each `kind` of a method's block, with a class `Learner`."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar, get_args

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from stages.models.clip import Clip
from stages.models.context import handwritten
from stages.models.text_tower import TextTower
from stages.runtime.block import Block, Context
from stages.runtime.method_blocks import AdversarialBlock, AnyAdversarial, kinds_of
from stages.runtime.params import describe

Settings = TypeVar("Settings", covariant=True)


class Learner(Protocol):
    """A classifier of learnable parameters, for S tuning seeds side by side.

    Attributes:
        initial: Parameters (S, ...) that tuning starts from.
        template: How a prompt reads, for people.
        note: Why it is slow, to be appended to a closing line; empty if it is not.
    """

    initial: Tensor
    template: str
    note: str

    def classifier(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return text features (S, K, D), unit norm, and logit biases (S, K), differentiable in the parameters."""

    def arrays(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return what goes into the prompt file beside text features, by the names of its attributes."""


@dataclass(frozen=True)
class Task(Generic[Settings]):
    """Kind, settings, classes and model of a learner.

    Attributes:
        kind: Names the module of the learner.
        settings: What it reads: the block of a method that attacks in every batch, of others the block `tune` as they
            change it, or its context.
        class_names: K names.
        template: The hand-written prompt of the data set, `{}` standing for the class name.
        clip: The towers.
        generators: One source of randomness for each of the S tuning seeds.
    """

    kind: str
    settings: Settings
    class_names: list[str]
    template: str
    clip: Clip
    generators: list[torch.Generator]

    @property
    def tower(self) -> TextTower:
        """Return the text tower."""
        return TextTower(self.clip.model, self.clip.tokenizer)

    @torch.no_grad()
    def handwritten(self) -> Tensor:
        """Return the text features (1, K, D), unit norm, of the hand-written prompt."""
        return handwritten(self.template, self.class_names, self.tower)


def task_of(
    block: dict[str, Any], class_names: list[str], template: str, clip: Clip, generators: list[torch.Generator]
) -> Task:
    """Return the task of a method that is made already, by the block of its provenance; other kinds have no settings.

    Raises:
        ValueError: If the block is none that this version of the project writes.
    """
    kind = str(block.get("kind"))
    settings: Block | None = None
    try:
        if kind in kinds_of(get_args(AnyAdversarial)):
            settings = TypeAdapter(AdversarialBlock).validate_python(block)
        elif kind == "context":
            settings = Context(**{name: block[name] for name in Context.model_fields if name in block})
    except ValidationError as error:
        fault = describe(error.errors()[0])
        raise ValueError(f"the method's block is none of this version of the project: {fault}; tune again") from error
    return Task(kind, settings, class_names, template, clip, generators)


def learner_of(task: Task) -> Learner:
    """Load the learner of a task.

    Raises:
        ValueError: If the text tower cannot take a prompt of these classes.
    """
    return import_module(f"{__name__}.{task.kind}").Learner(task)
