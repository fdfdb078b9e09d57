"""tune: embeddings -> data/prompts/<dataset>/{advpt,coop}, context vectors, their text features, the tuning curve.

`advpt` tunes on the bank of adversarial embeddings; `coop` does exactly the same on the clean ones. For the part `base`
of the classes, the prompts go to data/prompts/<dataset>_base.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stages.banks.bank import Bank, read_bank
from stages.banks.files import require_writable, resuming, whole
from stages.banks.prompts import PromptFile, save_prompts
from stages.banks.provenance import Provenance, key_of, provenance, require
from stages.banks.table import seal_of, write_table
from stages.carding import read_card
from stages.checkpoint import load_progress, save_progress
from stages.command import command, progress
from stages.datasets.card import Card
from stages.datasets.parts import labels_of
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device, graphed
from stages.models.lazily import without_compiler
from stages.params import Params, Tune, load_params
from stages.prompts.context import Prompts, arrangement, assemble, initial_context, readable
from stages.prompts.sources import tuning_generators
from stages.prompts.text import TextTower
from stages.prompts.tuning import Epoch, Schedule, tune


@dataclass(frozen=True)
class TrainingSet:
    """What a prompt is tuned on.

    Attributes:
        class_names: K names.
        bank: Embeddings of N images, as they are tuned on: attacked, or clean for `coop`.
        clean: Of the same images, clean.
        labels: Positions (N,) among the class names.
        seals: Digests of the files.
    """

    class_names: list[str]
    bank: Bank
    clean: Bank
    labels: np.ndarray
    seals: list[str]


def main(dataset: str, prompt: str, part: str | None = None) -> str:
    """Tunes all seeds of one prompt side by side, for all classes or for a part of them."""
    params = load_params()
    if prompt not in ("advpt", "coop"):
        raise ValueError(f"no prompt called {prompt!r} to tune; there are: advpt, coop")
    study = f"{dataset}_{part}" if part else dataset
    out = Path(f"data/prompts/{study}/{prompt}")
    require_writable(out)
    device = choose_device(params.runtime.device)
    card = read_card(dataset)
    clip = load_clip(**params.model.model_dump(), device=device)
    found = training_set(card, prompt, part, params, clip)
    tower, settings = TextTower(clip.model, clip.tokenizer), params.tune
    made_by = provenance(
        dataset=dataset,
        dataset_sha256=card.sha256,
        prompt=prompt,
        model=clip.fingerprint,
        seed=params.seed,
        tune=settings.model_dump(),
        part=part,
        **({"attack": params.attack.model_dump()} if prompt == "advpt" else {}),
    )
    generators = tuning_generators(params.seed, settings.tuning_seeds)
    layout, context = start_of(settings, found.class_names, tower, generators)
    features_of, without_graph = graphed(lambda context: layout.text_features(context, tower), context)
    key = key_of({**made_by, "class_names": found.class_names}, found.seals, device=device.type)
    with resuming(out, key) as pieces, without_compiler():
        checkpoint = pieces / "progress.safetensors"
        begun = load_progress(checkpoint)
        done = len(begun.curve) if begun else 0
        curve = begun.curve if begun else []
        epochs = tune(
            features_of,
            context,
            embeddings=torch.tensor(found.bank.embeddings, device=device),
            clean_embeddings=torch.tensor(found.clean.embeddings, device=device),
            labels=torch.tensor(found.labels, device=device),
            clean_fraction=settings.clean_fraction,
            logit_scale=clip.logit_scale,
            schedule=schedule_of(settings),
            generators=generators,
            start=begun,
        )
        for reached in progress(epochs, what=f"tune {prompt}", total=settings.epochs - done):
            save_progress(checkpoint, reached)
            curve = reached.curve
        prompts = PromptFile(
            text_features=layout.text_features(context, tower).cpu().numpy(),
            logit_scale=clip.logit_scale,
            class_names=found.class_names,
            template=readable(arrangement(settings.context_length, settings.class_position)),
            provenance=made_by,
            context=context.cpu().numpy(),
        )
        with whole(pieces / prompt / "prompts.safetensors") as file:
            save_prompts(file, prompts)
        with whole(pieces / prompt / "tuning.parquet") as file:
            write_table(file, [curve_table(curve, study, prompt)], made_by)
    kept = f", {done} of {settings.epochs} epochs from an interrupted run" if done else ""
    how = "" if tower.is_fast else ", slowly: the blocks of this text tower are not open_clip's standard ones"
    accuracy = np.mean(curve[-1].accuracy)
    seeds = settings.tuning_seeds
    return f"wrote {out}, {seeds} seeds{kept}, accuracy on what it tuned on {accuracy:.3f}{how}{without_graph}"


def training_set(card: Card, prompt: str, part: str | None, params: Params, clip: Clip) -> TrainingSet:
    """Reads the embeddings of the training split, or of a part of its classes.

    Raises:
        ValueError: If they were made by something else than this run states, or bank and clean images differ.
    """
    made_from = {
        "dataset": card.name,
        "dataset_sha256": card.sha256,
        "split": "train",
        "seed": params.seed,
        "data": params.data.model_dump(),
        "model": clip.fingerprint,
    }
    paths = [Path(f"data/clean/{card.name}/train/features.parquet")]
    clean = bank = load_embeddings(paths[0], made_from)  # for coop, whatever tune.clean_fraction is
    if prompt == "advpt":
        paths.append(Path(f"data/bank/{card.name}/embeddings.parquet"))
        bank = load_embeddings(paths[1], {**made_from, "attack": params.attack.model_dump()})
        if bank.ids != clean.ids:
            raise ValueError(f"{paths[1]}: its images are not those of the clean embeddings; run `dvc repro`")
    labels = labels_of(part, len(card.class_names))
    if part:
        chosen = np.isin(clean.labels, labels)
        bank, clean = bank.take(chosen), clean.take(chosen)
    class_names = [card.class_names[label] for label in labels]
    return TrainingSet(class_names, bank, clean, clean.labels - labels.start, [seal_of(path) for path in paths])


def load_embeddings(path: Path, expected: Provenance) -> Bank:
    """Reads the embeddings of the training split and refuses foreign ones."""
    bank, made_by = read_bank(path)
    require(made_by, path, **expected)
    return bank


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


def curve_table(curve: list[Epoch], study: str, prompt: str) -> pa.Table:
    """The tuning curve, one row for each seed and epoch."""

    def rows() -> Iterator[dict]:
        for seed in range(len(curve[0].loss)):
            for at in curve:
                numbers = {"seed": seed, "epoch": at.epoch, "loss": at.loss[seed], "accuracy": at.accuracy[seed]}
                yield {"dataset": study, "prompt": prompt, **numbers}

    return pa.Table.from_pylist(list(rows()))


if __name__ == "__main__":
    command(main)
