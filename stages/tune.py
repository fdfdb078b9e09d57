"""tune: embeddings -> data/prompts/<dataset>/{advpt,coop}, context vectors, their text features, the tuning curve.

`advpt` tunes on the bank of adversarial embeddings; `coop` does exactly the same on the clean ones. For the part `base`
of the classes, the prompts go to data/prompts/<dataset>_base.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stages.datasets.card import Card
from stages.datasets.card_file import read_card
from stages.datasets.halves import labels_of
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.prompts.fit import told, tuned, write_tuned
from stages.runtime.cli import command
from stages.runtime.params import Params, load_params
from stages.storage.embeddings import Bank, read_bank
from stages.storage.files import require_writable, resuming
from stages.storage.parquet import checksum_of
from stages.storage.provenance import Provenance, key_of, provenance, require


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
    settings = params.tune
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
    key = key_of({**made_by, "class_names": found.class_names}, found.seals, device=device.type)
    with resuming(out, key) as pieces:
        result = tuned(
            settings,
            found.class_names,
            clip,
            seed=params.seed,
            embeddings=torch.tensor(found.bank.embeddings, device=device)[None, None],
            clean_embeddings=torch.tensor(found.clean.embeddings, device=device),
            labels=torch.tensor(found.labels, device=device),
            checkpoint=pieces / "progress.safetensors",
            what=f"tune {prompt}",
        )
        write_tuned(pieces / prompt, result, found.class_names, settings, clip, study, made_by)
    return f"wrote {out}, {told(result)}"


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
    return TrainingSet(class_names, bank, clean, clean.labels - labels.start, [checksum_of(path) for path in paths])


def load_embeddings(path: Path, expected: Provenance) -> Bank:
    """Reads the embeddings of the training split and refuses foreign ones."""
    bank, made_by = read_bank(path)
    require(made_by, path, **expected)
    return bank


if __name__ == "__main__":
    command(main)
