"""refresh: training images, attacked through the prompts themselves -> data/prompts/<dataset>/advpt_refreshed.

In each round the training images are attacked through the prompts of the round before, at first through the
hand-written ones or AdvPT's, embedded, and added to the bank (data/bank/<dataset>/refreshed.parquet); then all seeds
are tuned again, from their first start. For the part `base` of the classes, both lie under <dataset>_base.

Source: after adversarial training (Madry et al. 2018, eq. 2.1), of nothing but context vectors; the attack is renewed
in each round, not in each step, and earlier rounds stay in the bank.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.banks.bank import Bank, read_bank, round_table
from stages.banks.files import require_writable, resuming, whole
from stages.banks.images import Images, Written, images_provenance, read_images, seals_of, shard_paths, write_pieces
from stages.banks.prompts import load_prompts
from stages.banks.provenance import key_of, provenance, require
from stages.banks.table import read_table, seal_of, write_table
from stages.banks.tensors import seal_of as seal_of_prompts
from stages.batches import fitting
from stages.carding import read_card
from stages.command import command, progress
from stages.datasets.parts import labels_of
from stages.judging import made_as
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import Params, load_params
from stages.prompts.sources import tuning_generators
from stages.prompts.text import TextTower
from stages.refreshing import Refresher
from stages.tuning import start_of, told, tuned, write_tuned

PROMPT = "advpt_refreshed"
NO_SEED = -1


class Start(NamedTuple):
    """What the rounds begin with.

    Attributes:
        images: Folder of the clean training images.
        labels: The classes that take part (K,), as the data set labels them.
        clean: Embeddings of the N clean images that show one of these.
        prompts: Text features (K, D) that the first round attacks, by tuning seed; of the hand-written prompt, which
            has none, under NO_SEED.
        seals: Digests of all that is read.
    """

    images: Path
    labels: range
    clean: Bank
    prompts: dict[int, Tensor]
    seals: list[str]


def main(dataset: str, part: str | None = None) -> str:
    """Attacks and tunes in rounds, all seeds side by side, for all classes or for a part of them."""
    params = load_params()
    settings, tune = params.refresh, params.refresh.changed(params.tune)
    study = f"{dataset}_{part}" if part else dataset
    out, bank = Path(f"data/prompts/{study}/{PROMPT}"), Path(f"data/bank/{study}/refreshed.parquet")
    require_writable(out, bank)
    device = choose_device(params.runtime.device)
    card = read_card(dataset)
    clip = load_clip(**params.model.model_dump(), device=device)
    labels = labels_of(part, len(card.class_names))
    class_names = [card.class_names[label] for label in labels]
    same = {"dataset": dataset, "dataset_sha256": card.sha256, "model": clip.fingerprint}
    start = read_start(params, study, labels, **same)
    clean = torch.tensor(start.clean.embeddings, device=device)
    made_by = provenance(**same, prompt=PROMPT, precision=clip.precision, part=part, **made_as(params)[PROMPT])
    refresher = Refresher(
        clip,
        settings,
        seed=params.seed,
        device=device,
        runtime=fitting(params.runtime, clip.gradient_encoder(), clip.image_size, device),
    )
    # a prompt that the tower cannot take is refused here, before any attack
    start_of(tune, class_names, TextTower(clip.model, clip.tokenizer), tuning_generators(params.seed, 1))
    key = key_of({**made_by, "class_names": class_names}, start.seals, device=device.type)
    prompts = start.prompts
    written: list[Written] = []
    shape = (tune.tuning_seeds, settings.rounds, *clean.shape)
    bank_so_far = clean.new_empty(shape) if settings.keep == "all" else None  # (S, V, N, D)
    with resuming(out, key) as folder, resuming(bank, key) as pieces:
        for turn in range(settings.rounds):
            folder_of_round = pieces / f"round-{turn + 1:04d}"
            attacked, of_round = attack_round(refresher, start, prompts, turn=turn, folder=folder_of_round)
            written += of_round
            if bank_so_far is not None:
                bank_so_far[:, turn] = attacked  # of one prompt for all seeds, where all begin with it
            result = tuned(
                tune,
                class_names,
                clip,
                seed=params.seed,
                embeddings=attacked[:, None] if bank_so_far is None else bank_so_far[:, : turn + 1],
                clean_embeddings=clean,
                labels=torch.tensor(start.clean.labels - labels.start, device=device),
                checkpoint=folder_of_round / "progress.safetensors",
                what=f"tune round {turn + 1}",
            )
            prompts = dict(enumerate(result.text_features))
        write_tuned(folder / PROMPT, result, class_names, tune, clip, study, made_by)
        with whole(pieces / bank.name) as file:
            write_table(file, (read_table(path)[0] for path in sorted(pieces.glob("round-*/*/*.parquet"))), made_by)
    shards = Written(len(clean), sum(one.pieces for one in written), sum(one.kept for one in written))
    return f"wrote {out}, {bank}, {shards}, {settings.rounds} rounds, {told(result)}"


def read_start(params: Params, study: str, labels: range, **same: object) -> Start:
    """Reads what the rounds begin with.

    Raises:
        ValueError: If it was made by something else than this run states, or images and embeddings differ.
    """
    dataset, settings = same["dataset"], params.refresh
    images = Path(f"data/clean/{dataset}/train/images")
    features = Path(f"data/clean/{dataset}/train/features.parquet")
    made_from = {"split": "train", "seed": params.seed, "data": params.data.model_dump()}
    require(images_provenance(images), images, **made_from, dataset=dataset, dataset_sha256=same["dataset_sha256"])
    clean, made_by = read_bank(features)
    require(made_by, features, **made_from, **same)
    path = Path(f"data/prompts/{dataset if settings.start == 'hand' else study}/{settings.start}/prompts.safetensors")
    found = load_prompts(path)
    require(found.provenance, path, **same, **made_as(params)[settings.start])
    found = found.of_classes(np.array(labels)) if settings.start == "hand" else found
    first = NO_SEED if settings.start == "hand" else 0
    prompts = {first + index: torch.tensor(one) for index, one in enumerate(found.text_features)}
    clean = clean.take(np.isin(clean.labels, labels))
    return Start(images, labels, clean, prompts, [*seals_of(images), seal_of(features), seal_of_prompts(path)])


def attack_round(
    refresher: Refresher, start: Start, prompts: dict[int, Tensor], *, turn: int, folder: Path
) -> tuple[Tensor, list[Written]]:
    """Attacks the training images through each of some prompts, and embeds them.

    Args:
        refresher: How.
        start: The images.
        prompts: Text features (K, D) by tuning seed.
        turn: Which round, from 0.
        folder: Takes a folder for each prompt and in it a file for each shard, but for those that are there already.

    Returns:
        Embeddings (S, N, D), of S prompts, and what was written for each.

    Raises:
        ValueError: If the images are not those of the clean embeddings.
    """
    views, written, known = [], [], set(start.clean.ids)
    for seed, text_features in prompts.items():

        def make(
            path: Path, index: int, shard: Images, seed: int = seed, text_features: Tensor = text_features
        ) -> None:
            if not known.issuperset(shard.ids):
                raise ValueError(f"{start.images}: not the images of the clean embeddings; run `dvc repro`")
            bank, eps = refresher.embedded(shard, text_features.to(refresher.device), turn=turn)
            write_table(path, [round_table(bank, turn=turn + 1, seed=seed, eps=eps)], {})

        work = folder / f"seed{seed:+03d}"
        shards = progress(shards_of(start), what=f"refresh round {turn + 1}", total=len(shard_paths(start.images)))
        written.append(write_pieces(work, shards, make))
        banks = [read_bank(path)[0] for path in sorted(work.glob("*.parquet"))]
        if [id for bank in banks for id in bank.ids] != start.clean.ids:
            raise ValueError(f"{start.images}: not the images of the clean embeddings; run `dvc repro`")
        views.append(torch.tensor(np.concatenate([bank.embeddings for bank in banks]), device=refresher.device))
    return torch.stack(views), written


def shards_of(start: Start) -> Iterator[Images]:
    """The images that take part, labelled by position among the classes that do."""
    for shard in read_images(start.images):
        shard = shard.take(np.isin(shard.labels, start.labels))
        if len(shard):
            yield replace(shard, labels=shard.labels - start.labels.start)


if __name__ == "__main__":
    command(main)
