"""Tune a method as params.yaml says, epoch by epoch, on whatever embeddings; write what comes out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stages.models.clip import Clip
from stages.models.device import graphed
from stages.prompts.checkpoint import load_progress, save_progress
from stages.prompts.learners import Learner
from stages.prompts.train import tune
from stages.runtime.cli import progress
from stages.runtime.params import Tune
from stages.runtime.startup import without_compiler
from stages.storage.files import whole
from stages.storage.parquet import write_table
from stages.storage.prompts import PromptFile, save_prompts
from stages.storage.provenance import Provenance


@dataclass(frozen=True)
class Tuned:
    """Tuned parameters of S seeds.

    Attributes:
        parameters: (S, ...).
        text_features: (S, K, D), unit norm.
        logit_bias: (S, K).
        loss: (epochs, S).
        accuracy: (epochs, S), on the tuning data as they were met.
        note: What a user should hear of how it went; empty if nothing.
    """

    parameters: Tensor
    text_features: Tensor
    logit_bias: Tensor
    loss: list[list[float]]
    accuracy: list[list[float]]
    note: str

    @property
    def summary(self) -> str:
        """Return how it went, for the closing line of a stage."""
        accuracy = np.mean(self.accuracy[-1])
        return f"tuning seeds: {len(self.parameters)}, accuracy on the tuning data {accuracy:.3f}{self.note}"


def fit(
    learner: Learner,
    settings: Tune,
    clip: Clip,
    *,
    generators: list[torch.Generator],
    embeddings: Tensor,
    clean_embeddings: Tensor,
    labels: Tensor,
    checkpoint: Path,
    what: str,
) -> Tuned:
    """Tune all seeds side by side; continue where an interrupted run stopped.

    Args:
        learner: What is tuned.
        settings: How.
        clip: The model.
        generators: Those that drew the learner's initial parameters.
        embeddings: As `prompts.train.tune` takes them.
        clean_embeddings: As `prompts.train.tune` takes them.
        labels: As `prompts.train.tune` takes them.
        checkpoint: File of the state after each epoch.
        what: Name of the work, for the progress bar.
    """
    parameters = learner.initial
    classifier, without_graph = graphed(learner.classifier, parameters)
    temperature = settings.temperature

    def tempered(parameters: Tensor) -> tuple[Tensor, Tensor]:
        text_features, bias = classifier(parameters)
        return text_features, bias / temperature  # as the scale of the cosines: logits are divided as a whole

    reached = begun = load_progress(checkpoint)
    done = len(begun.loss) if begun else 0
    with without_compiler():
        epochs = tune(
            tempered,
            parameters,
            embeddings=embeddings,
            clean_embeddings=clean_embeddings,
            labels=labels,
            logit_scale=clip.logit_scale / temperature,
            settings=settings,
            generators=generators,
            start=begun,
        )
        for reached in progress(epochs, what=what, total=settings.epochs - done):
            save_progress(checkpoint, reached)
    kept = f", {done} of {settings.epochs} epochs from an interrupted run" if done else ""
    text_features, logit_bias = learner.classifier(parameters)
    assert reached is not None
    note = f"{kept}{learner.note}{without_graph}"
    return Tuned(parameters, text_features, logit_bias, reached.loss, reached.accuracy, note)


def write_tuned(
    folder: Path, result: Tuned, learner: Learner, class_names: list[str], clip: Clip, title: str, made_by: Provenance
) -> None:
    """Write prompts and tuning curve.

    Args:
        folder: Where to.
        result: What was tuned.
        learner: What tuned it.
        class_names: K names.
        clip: The model.
        title: The study's, for the curve.
        made_by: Provenance of both files.
    """
    prompts = PromptFile(
        text_features=result.text_features.cpu().numpy(),
        logit_scale=clip.logit_scale,
        class_names=class_names,
        template=learner.template,
        provenance=made_by,
        logit_bias=result.logit_bias.cpu().numpy() if result.logit_bias.any() else None,
        **{name: array.cpu().numpy() for name, array in learner.arrays(result.parameters).items()},
    )
    write_method(folder, prompts, result.loss, result.accuracy, title)


def write_method(
    folder: Path, prompts: PromptFile, loss: list[list[float]], accuracy: list[list[float]], title: str
) -> None:
    """Write prompts and loss and accuracy (epochs, S) of their tuning, in a study of that title."""
    made_by = prompts.provenance
    with whole(folder / "prompts.safetensors") as file:
        save_prompts(file, prompts)
    with whole(folder / "tuning.parquet") as file:
        write_table(file, [curve_table(loss, accuracy, title, made_by["method"])], made_by)


def curve_table(loss: list[list[float]], accuracy: list[list[float]], title: str, method: str) -> pa.Table:
    """Return the tuning curve: dataset (the study's title), method, seed, epoch from 1, loss, accuracy."""
    epochs = list(enumerate(zip(loss, accuracy, strict=True), start=1))
    columns = ("dataset", "method", "seed", "epoch", "loss", "accuracy")
    rows = [
        dict(zip(columns, (title, method, seed, epoch, losses[seed], accuracies[seed]), strict=True))
        for seed in range(len(loss[0]))
        for epoch, (losses, accuracies) in epochs
    ]
    return pa.Table.from_pylist(rows)
