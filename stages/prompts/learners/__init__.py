"""Parameters that a method learns: one module for each `kind` of a method's block, with a class `Learner`."""

from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.models.clip import Clip


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


def learner_of(
    settings: dict[str, Any], class_names: list[str], template: str, clip: Clip, generators: list[torch.Generator]
) -> Learner:
    """Load the learner of a method.

    Args:
        settings: Those of `Method.settings`; `kind` names the module.
        class_names: K names.
        template: The hand-written prompt of the data set, `{}` standing for the class name.
        clip: Whose text tower.
        generators: One source of randomness for each of the S tuning seeds.

    Raises:
        ValueError: If the text tower cannot take a prompt of these classes.
    """
    return import_module(f"{__name__}.{settings['kind']}").Learner(settings, class_names, template, clip, generators)
