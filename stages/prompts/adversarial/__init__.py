"""Prompts of the group `adversarial`: one module for each `kind`, with a class `Learner`."""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.prompts.learners import Task

Arrays = dict[str, np.ndarray]
Encoder = Callable[..., Tensor]


class Learner(Protocol):
    """The prompts of one method, on the image side, on the text side, or on both.

    Attributes:
        initial: Where S tuning seeds start: tensors (S, ...), by the names of the attributes of a prompt file; in the
            precision of the model's weights.
        on_images: Which of them are image prompts; the others belong to the text.
        template: How a prompt reads, for people.
        note: Why it is slow, to be appended to a closing line; empty if it is not.
    """

    initial: dict[str, Tensor]
    on_images: tuple[str, ...]
    template: str
    note: str

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        """Return the text features (K, D), unit norm, of one tuning seed, differentiable in its prompts.

        With a parameter `router` (R, D) they are those (R, K, D) that it mixes for each image.
        """

    def encode_image(self, encode: Encoder, images: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        """Return the raw features (N, D) of images under image prompts.

        Args:
            encode: The image tower: images (N, 3, H, W), of any range, and token prompts (N, L, P, W), if any, to raw
                features.
            images: (N, 3, H, W) in [0, 1].
            prompts: The image prompts (...) of one tuning seed, or (N, ...): for each image a copy of its own.
        """


def learner_of(task: Task) -> Learner:
    """Load the learner of a task.

    Raises:
        ValueError: If a prompt does not fit the model.
    """
    return import_module(f"{__name__}.{task.kind}").Learner(task)


@torch.no_grad()
def text_arrays(learner: Learner, parameters: Arrays, device: torch.device) -> Arrays:
    """Return the text features under the parameters (S, ...) of all tuning seeds, by attributes of the prompt file."""
    seeds = len(next(iter(parameters.values())))
    of_seeds = (
        {name: torch.tensor(array[seed], device=device) for name, array in parameters.items()} for seed in range(seeds)
    )
    found = torch.stack([learner.text_features(of_seed) for of_seed in of_seeds])  # (S, K, D) or (S, R, K, D)
    if "router" not in parameters:
        return {"text_features": found.cpu().numpy()}
    return {"text_features": F.normalize(found.mean(1), dim=-1).cpu().numpy(), "experts": found.cpu().numpy()}
