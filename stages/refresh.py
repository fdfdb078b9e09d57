"""refresh: training images, attacked through the prompts themselves -> data/prompts/<dataset>/advpt_refreshed.

In each round the training images are attacked through the prompts of the round before, at first through the
hand-written ones or AdvPT's, embedded, and added to the bank (data/bank/<dataset>/refreshed.parquet); then all seeds
are tuned again, from their first start. For the part `base` of the classes, both lie under <dataset>_base.

Source: after adversarial training (Madry et al. 2018, eq. 2.1), of nothing but context vectors; the attack is renewed
in each round, not in each step, and earlier rounds stay in the bank.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.crafting.batching import fitting
from stages.crafting.refresh import Refresher
from stages.datasets.card_file import read_card
from stages.datasets.halves import labels_of
from stages.evaluation.study import expected_provenance
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.prompts.fit import Tuned, start_of, told, tuned, write_tuned
from stages.prompts.generators import tuning_generators
from stages.prompts.text import TextTower
from stages.runtime.cli import command
from stages.runtime.engine import Engine, WorkerFacts, engine
from stages.runtime.params import Params, load_params
from stages.storage.embeddings import Bank, read_bank, round_table
from stages.storage.files import require_writable, resuming, whole
from stages.storage.images import Images, Written, checksums_of, images_provenance, read_column, shard_paths
from stages.storage.parquet import checksum_of, read_table, write_table
from stages.storage.prompts import load_prompts
from stages.storage.provenance import key_of, provenance, require
from stages.storage.tensors import checksum_of as checksum_of_prompts

PROMPT = "advpt_refreshed"
NO_SEED = -1


class Start(NamedTuple):
    """What the rounds begin with.

    Attributes:
        images: Folder of the clean training images.
        chosen: Its shards that show a class that takes part.
        clean: Embeddings of the N clean images that do, labelled by position among these classes.
        prompts: Text features (K, D) that the first round attacks, by tuning seed; of the hand-written prompt, which
            has none, under NO_SEED.
        seals: Digests of all that is read.
    """

    images: Path
    chosen: list[int]
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
    # a prompt that the tower cannot take is refused here, before any attack
    start_of(tune, class_names, TextTower(clip.model, clip.tokenizer), tuning_generators(params.seed, 1))
    shared = clip if params.runtime.engine == "local" else None
    with engine(params, RefreshWorker, labels, shared, shards=len(start.chosen)) as run:
        if run.facts.model != clip.fingerprint:
            raise ValueError(f"runtime.engine: the workers have {run.facts.model}, here is {clip.fingerprint}")
        made_by = provenance(
            **same, prompt=PROMPT, **run.facts.provenance, part=part, **expected_provenance(params)[PROMPT]
        )
        devices = f"{run.facts.device}, {device.type}"  # of the attacks and of tuning
        key = key_of({**made_by, "class_names": class_names}, start.seals, device=devices)
        with resuming(out, key) as folder, resuming(bank, key) as pieces:
            result, written = in_rounds(run, start, params, clip, class_names, device=device, pieces=pieces)
            write_tuned(folder / PROMPT, result, class_names, tune, clip, study, made_by)
            with whole(pieces / bank.name) as file:
                write_table(file, (read_table(path)[0] for path in written.paths), made_by)
    return f"wrote {out}, {bank}, {written}, {settings.rounds} rounds, {told(result)}"


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
    require(found.provenance, path, **same, **expected_provenance(params)[settings.start])
    found = found.of_classes(np.array(labels)) if settings.start == "hand" else found
    first = NO_SEED if settings.start == "hand" else 0
    prompts = {first + index: torch.tensor(one) for index, one in enumerate(found.text_features)}
    clean = clean.take(np.isin(clean.labels, labels))
    clean = replace(clean, labels=clean.labels - labels.start)
    seals = [*checksums_of(images), checksum_of(features), checksum_of_prompts(path)]
    return Start(images, shards_showing(labels, images, clean.ids), clean, prompts, seals)


def shards_showing(labels: range, images: Path, ids: list[str]) -> list[int]:
    """The shards of a folder that show some classes.

    Raises:
        ValueError: If the images that do are not those of the clean embeddings.
    """
    showing = []
    for path in shard_paths(images):
        takes_part = np.isin(read_column(path, "label").to_numpy(), labels)
        showing.append(np.array(read_column(path, "id").to_pylist(), object)[takes_part].tolist())
    if [id for shard in showing for id in shard] != ids:
        raise ValueError(f"{images}: not the images of the clean embeddings; run `dvc repro`")
    return [index for index, shard in enumerate(showing) if shard]


def in_rounds(
    run: Engine,
    start: Start,
    params: Params,
    clip: Clip,
    class_names: list[str],
    *,
    device: torch.device,
    pieces: Path,
) -> tuple[Tuned, Written]:
    """Attacks and tunes by turns.

    Args:
        run: Of attackers.
        start: What the first round begins with.
        params: The parameters.
        clip: Whose text tower is tuned under.
        class_names: K names.
        device: Where to tune.
        pieces: Takes a folder for each round, and has those of an interrupted run.

    Returns:
        What the last round has tuned, and what was written for all of them.
    """
    settings, tune = params.refresh, params.refresh.changed(params.tune)
    clean, labels = (torch.tensor(array, device=device) for array in (start.clean.embeddings, start.clean.labels))
    most = settings.rounds if settings.keep == "all" else 1
    views = clean.new_empty(tune.tuning_seeds, most, *clean.shape)  # (S, V, N, D), each round one view
    prompts, written = start.prompts, []
    for round_index in range(settings.rounds):
        folder = pieces / f"round-{round_index + 1:04d}"
        count = min(round_index + 1, most)
        for seed, text_features in prompts.items():
            into = folder / f"seed{seed:+03d}"
            attacked, found = attack_through(text_features, run, start, round_index=round_index, seed=seed, folder=into)
            written.append(found)
            whose = slice(None) if seed == NO_SEED else seed  # all seeds begin with one prompt, or each with its own
            views[whose, count - 1] = torch.from_numpy(attacked)
        result = tuned(
            tune,
            class_names,
            clip,
            seed=params.seed,
            embeddings=views[:, :count],
            clean_embeddings=clean,
            labels=labels,
            checkpoint=folder / "progress.safetensors",
            what=f"tune round {round_index + 1}",
        )
        prompts = dict(enumerate(result.text_features))
    return result, Written(
        len(clean), [path for one in written for path in one.paths], sum(one.kept for one in written)
    )


def attack_through(
    text_features: Tensor, run: Engine, start: Start, *, round_index: int, seed: int, folder: Path
) -> tuple[np.ndarray, Written]:
    """Attacks the training images through a prompt, and embeds them.

    Args:
        text_features: The prompt's (K, D).
        run: Of attackers.
        start: The images.
        round_index: Which round, from 0.
        seed: The prompt's tuning seed.
        folder: Takes a file for each shard, but for those that are there already.

    Returns:
        Embeddings (N, D), and what was written.
    """
    attack = partial(
        RefreshWorker.attack, round_index=round_index, seed=seed, text_features=text_features.cpu().numpy()
    )
    written = run.map(attack, start.images, folder, what=f"refresh round {round_index + 1}", chosen=start.chosen)
    banks = (read_bank(path)[0] for path in written.paths)
    return np.concatenate([bank.embeddings for bank in banks]), written


class RefreshWorker:
    """Attacks shards through a prompt and embeds the result; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        labels: The classes that take part (K,), as the data set labels them.
        clip: The victim, if it is loaded already.
    """

    def __init__(self, params: Params, labels: range, clip: Clip | None) -> None:
        self._labels, self._device = labels, choose_device(params.runtime.device)
        clip = clip or load_clip(**params.model.model_dump(), device=self._device)
        runtime = fitting(params.runtime, clip.gradient_encoder(), clip.image_size, self._device)
        self._refresher = Refresher(clip, params.refresh, seed=params.seed, device=self._device, runtime=runtime)
        self.facts = WorkerFacts(self._device.type, clip.fingerprint, provenance={"precision": clip.precision})

    def attack(
        self, path: Path, shard_index: int, shard: Images, *, round_index: int, seed: int, text_features: np.ndarray
    ) -> None:
        """Attack the images of a shard that take part, through text features (K, D), and write their embeddings."""
        part = shard.take(np.isin(shard.labels, self._labels))
        part = replace(part, labels=part.labels - self._labels.start)
        prompt = torch.tensor(text_features, device=self._device)
        bank, eps = self._refresher.embedded(part, prompt, round_index=round_index)
        write_table(path, [round_table(bank, round_index=round_index + 1, seed=seed, eps=eps)], {})


if __name__ == "__main__":
    command(main)
