"""refresh: training images attacked through the method that is being tuned, in rounds -> a method and its bank.

In each round the training images are attacked through the classifier of the round before, at first through the
hand-written prompt, embedded, and added to the bank; then all seeds are tuned again, from their first start.

Source: after adversarial training (Madry et al. 2018, eq. 2.1), of nothing but the method's own parameters; the attack
is renewed in each round, not in each step, and earlier rounds stay in the bank.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.crafting.refresh import RefreshWorker
from stages.evaluation.study import provenance_of, study_labels, study_title
from stages.models.clip import Clip, load_model
from stages.models.context import handwritten
from stages.models.text_tower import TextTower
from stages.prompts.fit import Tuned, fit, write_tuned
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Learner, Task, learner_of
from stages.runtime.cli import command
from stages.runtime.engine import Engine, engine
from stages.runtime.params import Params, Refreshed, Tune, load_params
from stages.storage.card import Card, read_card
from stages.storage.embeddings import Bank, read_bank
from stages.storage.files import require_writable, resuming, whole
from stages.storage.images import Written, checksums_of, images_provenance, read_ids, shard_paths, together
from stages.storage.layout import clean_images, method_folder, refreshed_bank, train_features
from stages.storage.parquet import checksum_of, read_table, write_table
from stages.storage.provenance import key_of, require


@dataclass(frozen=True)
class TrainingSet:
    """Images and embeddings that the rounds attack and tune on.

    Attributes:
        images: Folder of the clean training images.
        chosen: Its shards that show a class that takes part.
        clean: Embeddings of the N clean images that do, labelled by position among these classes.
        checksums: Of all that is read.
    """

    images: Path
    chosen: list[int]
    clean: Bank
    checksums: list[str]


def main(dataset: str, study: str, method: str) -> str:
    """Attack and tune in rounds, all seeds side by side, on all classes or on the base classes."""
    params = load_params()
    found = params.methods.find("refresh", method)
    block = found.block
    assert isinstance(block, Refreshed)
    settings = block.tune(params.tune)
    out, bank = method_folder(dataset, study, *found[:2]), refreshed_bank(dataset, study, method)
    require_writable(out, bank)
    card = read_card(dataset)
    clip, device = load_model(params)
    labels = study_labels(study, len(card.class_names))
    class_names = [card.class_names[label] for label in labels]
    training = training_set(card, labels, params, clip)

    def new_learner() -> tuple[Learner, list[torch.Generator]]:
        generators = tuning_generators(params.seed, settings.tuning_seeds)
        return learner_of(Task(block.kind, settings, class_names, card.template, clip, generators)), generators

    learner, _ = new_learner()  # a prompt that the tower cannot take is refused here, before any attack
    with torch.inference_mode():
        start = handwritten([card.template], class_names, TextTower(clip.model, clip.tokenizer)).clone()
    shared = clip if params.runtime.engine == "local" else None
    with engine(params, RefreshWorker, block, labels, shared, shards=len(training.chosen)) as run:
        if run.facts.model != clip.fingerprint:
            raise ValueError(f"runtime.engine: the workers have {run.facts.model}, here is {clip.fingerprint}")
        made_by = provenance_of(found, card, study, params, model=clip.fingerprint, **run.facts.provenance)
        named = {**made_by, "class_names": class_names, "template": card.template}
        key = key_of(named, training.checksums, device=f"{run.facts.device}, {device.type}")
        with resuming(out, key) as folder, resuming(bank, key) as pieces:
            rounds = Rounds(block.rounds, settings, run, training, clip, device, pieces, new_learner)
            result, written = rounds.run_all(start)
            write_tuned(folder / out.name, result, learner, class_names, clip, study_title(dataset, study), made_by)
            with whole(pieces / bank.name) as file:
                write_table(file, (read_table(path)[0] for path in written.paths), made_by)
    return f"wrote {out}, {bank}, {written}, {block.rounds} rounds, {result.summary}"


def training_set(card: Card, labels: range, params: Params, clip: Clip) -> TrainingSet:
    """Read what is attacked and tuned on.

    Raises:
        ValueError: If it was made by something else than this run states, or images and embeddings differ.
    """
    images, features = clean_images(card.name, "train"), train_features(card.name)
    same = {"dataset": card.name, "dataset_sha256": card.sha256, "split": "train", "seed": params.seed}
    same["data"] = params.data.of("train")
    require(images_provenance(images), images, **same)
    clean, made_by = read_bank(features)
    require(made_by, features, **same, model=clip.fingerprint)
    clean = clean.take(np.isin(clean.labels, labels))
    clean = replace(clean, labels=clean.labels - labels.start)
    chosen = shards_showing(labels, images, clean.ids)
    return TrainingSet(images, chosen, clean, [*checksums_of(images), checksum_of(features)])


def shards_showing(labels: range, images: Path, ids: list[str]) -> list[int]:
    """Return the shards of a folder that show some classes.

    Raises:
        ValueError: If the images that do are not those of the clean embeddings.
    """
    showing = []
    for path in shard_paths(images):
        names, in_shard = read_ids(path)
        showing.append([name for name, label in zip(names, in_shard, strict=True) if label in labels])
    if [id for shard in showing for id in shard] != ids:
        raise ValueError(f"{images}: not the images of the clean embeddings; run `dvc repro`")
    return [index for index, shard in enumerate(showing) if shard]


@dataclass(frozen=True)
class Rounds:
    """Attacks and tunes by turns.

    Attributes:
        count: How often.
        settings: How to tune.
        run: Engine of `RefreshWorker`s.
        training: The images and their clean embeddings.
        clip: The model.
        device: Where to tune.
        pieces: Takes a folder for each round, and has those of an interrupted run.
        new_learner: Makes what is tuned, and the generators that drew its start.
    """

    count: int
    settings: Tune
    run: Engine
    training: TrainingSet
    clip: Clip
    device: torch.device
    pieces: Path
    new_learner: Callable[[], tuple[Learner, list[torch.Generator]]]

    def run_all(self, start: Tensor) -> tuple[Tuned, Written]:
        """Return what the last round has tuned, and what was written for all of them.

        Args:
            start: Text features (1, K, D) of the classifier that the first round attacks.
        """
        clean, labels = (
            torch.tensor(array, device=self.device)
            for array in (self.training.clean.embeddings, self.training.clean.labels)
        )
        views = clean.new_empty(self.settings.tuning_seeds, self.count, *clean.shape)  # (S, V, N, D)
        text_features, logit_bias, written = start, start.new_zeros(start.shape[:2]), []
        for round_index in range(self.count):
            attacked, found = self.attack(text_features, logit_bias, round_index)
            written += found
            views[:, round_index] = attacked.to(self.device)  # the first round's are shared by all seeds
            learner, generators = self.new_learner()
            result = fit(
                learner,
                self.settings,
                self.clip,
                generators=generators,
                embeddings=views[:, : round_index + 1],
                clean_embeddings=clean,
                labels=labels,
                checkpoint=self.pieces / f"round-{round_index + 1:04d}" / "progress.safetensors",
                what=f"tune round {round_index + 1}",
            )
            text_features, logit_bias = result.text_features, result.logit_bias
        return result, together(written)

    def attack(self, text_features: Tensor, logit_bias: Tensor, round_index: int) -> tuple[Tensor, list[Written]]:
        """Attack the training images through the classifier of each seed, and embed them.

        Args:
            text_features: (S, K, D), or (1, K, D) of a classifier that all seeds share.
            logit_bias: (S, K), or (1, K).
            round_index: Which round, from 0.

        Returns:
            Embeddings (S, N, D) or (1, N, D), and what was written.
        """
        embeddings, written = [], []
        for seed, (features, bias) in enumerate(
            zip(text_features.cpu().numpy(), logit_bias.cpu().numpy(), strict=True)
        ):
            folder = self.pieces / f"round-{round_index + 1:04d}" / f"seed-{seed:03d}"
            attack = partial(
                RefreshWorker.attack,
                text_features=features,
                logit_bias=bias,
                round_index=round_index,
                seed=seed if round_index else None,
            )
            what = f"refresh round {round_index + 1}"
            written.append(self.run.map(attack, self.training.images, folder, what=what, chosen=self.training.chosen))
            banks = [read_bank(path)[0] for path in written[-1].paths]
            embeddings.append(torch.from_numpy(np.concatenate([bank.embeddings for bank in banks])))
        return torch.stack(embeddings), written


if __name__ == "__main__":
    command(main)
