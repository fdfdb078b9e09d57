"""tune: embeddings -> data/prompts/<dataset>/{advpt,coop}, context vectors, their text features, the tuning curve.

`advpt` tunes on the bank of adversarial embeddings; `coop` does exactly the same on the clean ones. For the part `base`
of the classes, the prompts go to data/prompts/<dataset>_base.
"""

import csv
from pathlib import Path

import numpy as np
import torch

from stages.banks.bank import Bank, read_bank
from stages.banks.files import replacing
from stages.banks.provenance import Provenance, provenance, require
from stages.command import command, progress
from stages.datasets.card import read_card
from stages.datasets.parts import labels_of
from stages.models.clip import load_clip
from stages.models.device import choose_device, graphed
from stages.models.lazily import without_compiler
from stages.params import Tune, load_params
from stages.prompts.context import arrangement, assemble, initial_context, readable
from stages.prompts.file import PromptFile, save_prompts
from stages.prompts.text import TextTower
from stages.prompts.tuning import Epoch, Schedule, tune


def main(dataset: str, prompt: str, part: str | None = None) -> str:
    """Tunes all seeds of one prompt side by side, for all classes or for a part of them."""
    params = load_params()
    if prompt not in ("advpt", "coop"):
        raise ValueError(f"no prompt called {prompt!r} to tune; there are: advpt, coop")
    device = choose_device(params.runtime.device)
    card = read_card(Path(f"data/cards/{dataset}.json"))
    clip = load_clip(**params.model.model_dump(), device=device)
    tower = TextTower(clip.model, clip.tokenizer)

    made_from = {
        "dataset": dataset,
        "dataset_sha256": card.sha256,
        "split": "train",
        "seed": params.seed,
        "model": clip.fingerprint,
    }
    clean = load_embeddings(Path(f"data/clean/{dataset}/train/features.parquet"), made_from)
    bank = clean  # for coop, whatever tune.clean_fraction is
    if prompt == "advpt":
        path = Path(f"data/bank/{dataset}/embeddings.parquet")
        bank = load_embeddings(path, {**made_from, "attack": params.attack.model_dump()})
        if bank.ids != clean.ids:
            raise ValueError(f"{path}: its images are not those of the clean embeddings; run `dvc repro`")
    labels = labels_of(part, len(card.class_names))
    class_names, chosen = [card.class_names[label] for label in labels], np.isin(clean.labels, labels)
    if part:
        bank, clean = bank.take(chosen), clean.take(chosen)

    settings = params.tune
    generators = [torch.Generator().manual_seed(params.seed * 1000 + index) for index in range(settings.tuning_seeds)]
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
    text_features_of, without_graph = graphed(lambda context: layout.text_features(context, tower), context)
    epochs = tune(
        text_features_of,
        context,
        embeddings=torch.tensor(bank.embeddings, device=device),
        clean_embeddings=torch.tensor(clean.embeddings, device=device),
        labels=torch.tensor(clean.labels - labels.start, device=device),
        clean_fraction=settings.clean_fraction,
        logit_scale=clip.logit_scale,
        schedule=schedule_of(settings),
        generators=generators,
    )
    with without_compiler():
        curve = list(progress(epochs, what=f"tune {prompt}", total=settings.epochs))

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
    prompts = PromptFile(
        text_features=layout.text_features(context, tower).cpu().numpy(),
        logit_scale=clip.logit_scale,
        class_names=class_names,
        template=readable(arrangement(settings.context_length, settings.class_position)),
        provenance=made_by,
        context=context.cpu().numpy(),
    )
    study = f"{dataset}_{part}" if part else dataset
    out = Path(f"data/prompts/{study}/{prompt}")
    with replacing(out) as folder:
        folder.mkdir()
        save_prompts(folder / "prompts.safetensors", prompts)
        write_curve(folder / "tuning.csv", curve, study, prompt)
    last = curve[-1].accuracy
    how = "" if tower.is_fast else ", slowly: the blocks of this text tower are not open_clip's standard ones"
    seeds = settings.tuning_seeds
    return f"wrote {out}, {seeds} seeds, accuracy on what it tuned on {sum(last) / len(last):.3f}{how}{without_graph}"


def load_embeddings(path: Path, expected: Provenance) -> Bank:
    """Reads the embeddings of the training split and refuses foreign ones."""
    bank, made_by = read_bank(path)
    require(made_by, path, **expected)
    return bank


def schedule_of(settings: Tune) -> Schedule:
    """The part of the parameters that says how to step."""
    return Schedule(**{name: getattr(settings, name) for name in Schedule.__dataclass_fields__})


def write_curve(path: Path, curve: list[Epoch], dataset: str, prompt: str) -> None:
    """Writes the tuning curve, one line for each seed and epoch."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "prompt", "seed", "epoch", "loss", "accuracy"])
        for seed in range(len(curve[0].loss)):
            writer.writerows([dataset, prompt, seed, at.epoch, at.loss[seed], at.accuracy[seed]] for at in curve)


if __name__ == "__main__":
    command(main)
