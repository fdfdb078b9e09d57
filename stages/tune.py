"""tune: stored embeddings -> a method of the groups `tune_clean` and `tune_bank`, and its tuning curve.

Methods of `tune_bank` are tuned on the bank of adversarial embeddings (AdvPT), those of `tune_clean` on the embeddings
of the same images without attack (CoOp).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from stages.evaluation.study import provenance_of, study_labels, study_title
from stages.models.clip import Clip, load_model
from stages.prompts.fit import fit, write_tuned
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task, learner_of
from stages.runtime.cli import command
from stages.runtime.params import Params, Tuned, load_params
from stages.storage.card import Card, read_card
from stages.storage.embeddings import Bank, read_bank
from stages.storage.files import require_writable, resuming
from stages.storage.layout import bank_features, method_folder, train_features
from stages.storage.parquet import checksum_of
from stages.storage.provenance import Provenance, key_of, require

GROUPS = ("tune_clean", "tune_bank")


@dataclass(frozen=True)
class TrainingSet:
    """Embeddings that a method is tuned on.

    Attributes:
        bank: Embeddings of N images, as they are tuned on: attacked, or clean; labelled by position in the study.
        clean: Of the same images, clean.
        checksums: Of the files.
    """

    bank: Bank
    clean: Bank
    checksums: list[str]


def main(dataset: str, study: str, group: str, method: str) -> str:
    """Tune all seeds of one method side by side, on all classes or on the base classes."""
    params = load_params()
    if group not in GROUPS:
        raise ValueError(f"no group {group!r} that is tuned on stored embeddings; there are: {', '.join(GROUPS)}")
    found = params.methods.find(group, method)
    block = found.block
    assert isinstance(block, Tuned)
    settings = block.tune(params.tune)
    out = method_folder(dataset, study, group, method)
    require_writable(out)
    card = read_card(dataset)
    clip, device = load_model(params)
    labels = study_labels(study, len(card.class_names))
    class_names = [card.class_names[label] for label in labels]
    training = training_set(card, labels, params, clip, with_bank=group == "tune_bank")
    attack = {"attack": params.attack.model_dump()} if group == "tune_bank" else {}
    made_by = provenance_of(found, card, study, params, model=clip.fingerprint, **attack)
    generators = tuning_generators(params.seed, settings.tuning_seeds)
    learner = learner_of(Task(block.kind, settings, class_names, card.template, clip, generators))
    named = {**made_by, "class_names": class_names, "template": card.template}
    with resuming(out, key_of(named, training.checksums, device=device.type)) as pieces:
        result = fit(
            learner,
            settings,
            clip,
            generators=generators,
            embeddings=torch.tensor(training.bank.embeddings, device=device)[None, None],
            clean_embeddings=torch.tensor(training.clean.embeddings, device=device),
            labels=torch.tensor(training.clean.labels, device=device),
            checkpoint=pieces / "progress.safetensors",
            what=f"tune {method}",
        )
        write_tuned(pieces / out.name, result, learner, class_names, clip, study_title(dataset, study), made_by)
    return f"wrote {out}, {result.summary}"


def training_set(card: Card, labels: range, params: Params, clip: Clip, *, with_bank: bool) -> TrainingSet:
    """Read the embeddings of the training images of some classes.

    Raises:
        ValueError: If they were made by something else than this run states, or bank and clean images differ.
    """
    made_from = {
        "dataset": card.name,
        "dataset_sha256": card.sha256,
        "split": "train",
        "seed": params.seed,
        "data": params.data.of("train"),
        "model": clip.fingerprint,
    }
    paths = [train_features(card.name)]
    clean = bank = load_embeddings(paths[0], made_from)
    if with_bank:
        paths.append(bank_features(card.name))
        bank = load_embeddings(paths[1], {**made_from, "attack": params.attack.model_dump()})
        if bank.ids != clean.ids:
            raise ValueError(f"{paths[1]}: its images are not those of the clean embeddings; run `dvc repro`")
    chosen = np.isin(clean.labels, labels)
    bank, clean = (replace(one.take(chosen), labels=one.labels[chosen] - labels.start) for one in (bank, clean))
    return TrainingSet(bank, clean, [checksum_of(path) for path in paths])


def load_embeddings(path: Path, expected: Provenance) -> Bank:
    """Read the embeddings of the training split and refuse those of another run."""
    bank, made_by = read_bank(path)
    require(made_by, path, **expected)
    return bank


if __name__ == "__main__":
    command(main)
