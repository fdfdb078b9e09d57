"""Contexts of all seeds tuned as params.yaml says, on whatever embeddings, epoch by epoch; what comes out, on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stages.models.clip import Clip
from stages.models.device import graphed
from stages.prompts.checkpoint import load_progress, save_progress
from stages.prompts.context import Prompts, arrangement, assemble, initial_context, readable
from stages.prompts.generators import tuning_generators
from stages.prompts.text import TextTower
from stages.prompts.train import Epoch, Schedule, tune
from stages.runtime.cli import progress
from stages.runtime.params import Tune
from stages.runtime.startup import without_compiler
from stages.storage.files import whole
from stages.storage.parquet import write_table
from stages.storage.prompts import PromptFile, save_prompts
from stages.storage.provenance import Provenance


@dataclass(frozen=True)
class Tuned:
    """What tuning made of the contexts of S seeds.

    Attributes:
        context: (S, M, D_token) or (S, K, M, D_token).
        text_features: (S, K, D), unit norm.
        curve: Every epoch.
        note: What a user should hear of how it went; empty if nothing.
    """

    context: Tensor
    text_features: Tensor
    curve: list[Epoch]
    note: str


def tuned(
    settings: Tune,
    class_names: list[str],
    clip: Clip,
    *,
    seed: int,
    embeddings: Tensor,
    clean_embeddings: Tensor,
    labels: Tensor,
    checkpoint: Path,
    what: str,
) -> Tuned:
    """Tunes all seeds side by side; goes on where an interrupted run stood.

    Args:
        settings: The block `tune`.
        class_names: K names.
        clip: Whose text tower.
        seed: Of the run.
        embeddings: As `prompts.tuning.tune` takes them.
        clean_embeddings: As `prompts.tuning.tune` takes them.
        labels: As `prompts.tuning.tune` takes them.
        checkpoint: Where it notes how far it is.
        what: Name of the work, for the progress bar.
    """
    tower, generators = TextTower(clip.model, clip.tokenizer), tuning_generators(seed, settings.tuning_seeds)
    layout, context = start_of(settings, class_names, tower, generators)
    features_of, without_graph = graphed(lambda context: layout.text_features(context, tower), context)
    begun = load_progress(checkpoint)
    curve = begun.curve if begun else []
    done = len(curve)
    with without_compiler():
        epochs = tune(
            features_of,
            context,
            embeddings=embeddings,
            clean_embeddings=clean_embeddings,
            labels=labels,
            clean_fraction=settings.clean_fraction,
            logit_scale=clip.logit_scale / settings.temperature,
            schedule=schedule_of(settings),
            generators=generators,
            start=begun,
        )
        for reached in progress(epochs, what=what, total=settings.epochs - done):
            save_progress(checkpoint, reached)
            curve = reached.curve
    kept = f", {done} of {settings.epochs} epochs from an interrupted run" if done else ""
    how = "" if tower.is_fast else ", slowly: the blocks of this text tower are not open_clip's standard ones"
    return Tuned(context, layout.text_features(context, tower), curve, f"{kept}{how}{without_graph}")


def start_of(
    settings: Tune, class_names: list[str], tower: TextTower, generators: list[torch.Generator]
) -> tuple[Prompts, Tensor]:
    """Prompts with free places for the context, and the contexts of all seeds that go there first."""
    layout = assemble(
        class_names,
        tower,
        context_length=settings.context_length,
        class_position=settings.class_position,
        class_specific=settings.class_specific,
    )
    context = initial_context(
        tower,
        context_length=settings.context_length,
        words=settings.init_words,
        std=settings.init_std,
        classes=len(class_names) if settings.class_specific else None,
        generators=generators,
    )
    return layout, context


def schedule_of(settings: Tune) -> Schedule:
    """The part of the parameters that says how to step."""
    return Schedule(**{name: getattr(settings, name) for name in Schedule.__dataclass_fields__})


def write_tuned(
    folder: Path, result: Tuned, class_names: list[str], settings: Tune, clip: Clip, study: str, made_by: Provenance
) -> None:
    """Writes prompts and tuning curve."""
    prompts = PromptFile(
        text_features=result.text_features.cpu().numpy(),
        logit_scale=clip.logit_scale,
        class_names=class_names,
        template=readable(arrangement(settings.context_length, settings.class_position)),
        provenance=made_by,
        context=result.context.cpu().numpy(),
    )
    with whole(folder / "prompts.safetensors") as file:
        save_prompts(file, prompts)
    with whole(folder / "tuning.parquet") as file:
        write_table(file, [curve_table(result.curve, study, made_by["prompt"])], made_by)


def curve_table(curve: list[Epoch], study: str, prompt: str) -> pa.Table:
    """The tuning curve, one row for each seed and epoch."""

    def rows() -> Iterator[dict]:
        for seed in range(len(curve[0].loss)):
            for at in curve:
                numbers = {"seed": seed, "epoch": at.epoch, "loss": at.loss[seed], "accuracy": at.accuracy[seed]}
                yield {"dataset": study, "prompt": prompt, **numbers}

    return pa.Table.from_pylist(list(rows()))


def told(result: Tuned) -> str:
    """How it went, for the closing line of a stage."""
    accuracy = np.mean(result.curve[-1].accuracy)
    return f"{len(result.context)} seeds, accuracy on what it tuned on {accuracy:.3f}{result.note}"
