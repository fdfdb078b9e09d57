"""Compute the text features of an entry again, from what its method has learnt."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.models.clip import Clip
from stages.models.context import handwritten
from stages.prompts import adversarial, learners
from stages.prompts.learners import Task, task_of
from stages.prompts.templates import openai_templates
from stages.storage.prompts import OPTIONAL, PromptFile

Arrays = dict[str, np.ndarray]
LEARNT = {"context": "context", "bias": "logit_bias"}  # by methods of these kinds
DISTANCE = 1e-4  # of two unit text features that differ by rounding alone, as those of two processors do


@torch.no_grad()
def check_learnt(path: Path, prompts: PromptFile, block: dict[str, Any], template: str, clip: Clip) -> None:
    """Refuse arrays that a method of this block does not have or lacks, and text features that these do not give.

    Args:
        path: File of the prompts.
        prompts: Its content.
        block: The method's block; that of the method behind a defence.
        template: The hand-written prompt of the data set.
        clip: The model.
    """
    task = task_of(block, prompts.class_names, template, clip, [torch.Generator() for _ in prompts.text_features])
    shapes, encode = method_of(block, task)
    learnt = {name: array for name in OPTIONAL if (array := getattr(prompts, name)) is not None and name != "experts"}
    if learnt.keys() != shapes.keys():
        raise ValueError(f"{path}: its method has learnt {sorted(shapes)}, but the file has {sorted(learnt)}")
    for name, array in learnt.items():
        if array.shape != shapes[name]:
            raise ValueError(f"{path}: {name} of {array.shape}; its method has learnt {shapes[name]}")
    for name, array in encode(learnt).items():
        stored = getattr(prompts, name)
        if stored.shape != array.shape:
            raise ValueError(f"{path}: {name} of {stored.shape}; the method gives {array.shape}")
        if (distance := np.linalg.norm(stored - array, axis=-1).max()) > DISTANCE:
            raise ValueError(f"{path}: {name} are not those that the method gives, up to {distance:.2g} away from them")


def method_of(block: dict[str, Any], task: Task) -> tuple[dict[str, tuple[int, ...]], Callable[[Arrays], Arrays]]:
    """Return the shapes of the arrays that a method learns, and the function that makes text features of them."""
    device = next(task.clip.parameters()).device
    if "templates" in block:
        templates = openai_templates() if block["templates"] == "openai_80" else task.template
        return {}, lambda _: {"text_features": handwritten(templates, task.class_names, task.tower).cpu().numpy()}
    if (name := LEARNT.get(task.kind)) is not None:
        tuned = learners.learner_of(task)

        def encode(arrays: Arrays) -> Arrays:
            return {"text_features": tuned.classifier(torch.tensor(arrays[name], device=device))[0].cpu().numpy()}

        return {name: tuple(tuned.initial.shape)}, encode
    learner = adversarial.learner_of(task)
    shapes = {name: tuple(array.shape) for name, array in learner.initial.items()}
    return shapes, partial(adversarial.text_arrays, learner, device=device)
