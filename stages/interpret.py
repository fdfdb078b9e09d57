"""words: prompts, vocabulary, embeddings -> data/words/<dataset>: what the tuned vectors lie near, and what moved.

`words` has the words nearest to every context vector, `moves` the ways of the text features, `cosines` the maps of
them, `plane` images and texts in two dimensions.
"""

from pathlib import Path

import torch
from torch import Tensor

from stages.evaluation.study import TUNED, expected_provenance, read_study
from stages.interpretation.nearest_tokens import vocabulary_of
from stages.interpretation.tables import cosines_table, moves_table, plane_table
from stages.interpretation.token_table import words_table
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.prompts.context import initial_context
from stages.prompts.generators import tuning_generators, twin_generator
from stages.prompts.text import TextTower
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.embeddings import Bank, read_bank
from stages.storage.files import replacing, require_writable
from stages.storage.parquet import write_table
from stages.storage.prompts import PromptFile
from stages.storage.provenance import Provenance, require, with_versions

PLACE = ["prompt", "seed", "class", "position"]  # of a context vector


@torch.inference_mode()
def main(dataset: str) -> str:
    """Reads what the prompts of one data set have learnt."""
    params = load_params()
    out = Path(f"data/words/{dataset}")
    require_writable(out)
    device = choose_device(params.runtime.device)
    clip = load_clip(**params.model.model_dump(), device=device)
    expected = {
        "dataset": dataset,
        "split": "train",
        "seed": params.seed,
        "data": params.data.model_dump(),
        "model": clip.fingerprint,
    }
    clean, attacked, made_by = read_pair(dataset, expected, attack=params.attack.model_dump())
    same = {"model": clip.fingerprint, "dataset_sha256": made_by["dataset_sha256"]}
    study = read_study(dataset, dataset, expected_provenance(params), **same)

    tower = TextTower(clip.model, clip.tokenizer)
    vocabulary = vocabulary_of(clip.tokenizer, tower)
    generator = twin_generator(params.seed)
    words = [
        words_table(
            prompt, torch.from_numpy(file.context), start_of(file, tower), file.class_names, vocabulary, generator
        )
        for prompt, file in ((prompt, study.prompts[prompt]) for prompt in TUNED)
    ]
    tables = {
        "words": words,
        "moves": [moves_table(study, TUNED)],
        "cosines": [cosines_table(study)],
        "plane": [plane_table(clean, attacked, study)],
    }
    about = with_versions(bank=made_by, prompts=study.provenances)
    with replacing(out) as folder:
        folder.mkdir()
        for name, parts in tables.items():
            write_table(folder / f"{name}.parquet", parts, about)
    vectors = len({tuple(row.values()) for part in words for row in part.select(PLACE).to_pylist()})
    return f"wrote {out}, {vectors} context vectors among {len(vocabulary.words)} words"


def read_pair(dataset: str, expected: Provenance, *, attack: Provenance) -> tuple[Bank, Bank, Provenance]:
    """Embeddings of the training images, clean and attacked, and what made the latter.

    Raises:
        ValueError: If they were made by something else than this run states, or are not of the same images.
    """
    paths = [Path(f"data/clean/{dataset}/train/features.parquet"), Path(f"data/bank/{dataset}/embeddings.parquet")]
    (clean, of_clean), (attacked, of_attacked) = (read_bank(path) for path in paths)
    require(of_attacked, paths[1], **expected, attack=attack)
    require(of_clean, paths[0], **expected, dataset_sha256=of_attacked["dataset_sha256"])
    if attacked.ids != clean.ids:
        raise ValueError(f"{paths[1]}: its images are not those of the clean embeddings; run `dvc repro`")
    return clean, attacked, of_attacked


def start_of(prompts: PromptFile, tower: TextTower) -> Tensor:
    """The contexts that tuning began with: the same seeds draw the same again."""
    settings = prompts.provenance["tune"]
    return initial_context(
        tower,
        context_length=settings["context_length"],
        words=settings["init_words"],
        std=settings["init_std"],
        classes=len(prompts.class_names) if settings["class_specific"] else None,
        generators=tuning_generators(prompts.provenance["seed"], settings["tuning_seeds"]),
    )


if __name__ == "__main__":
    command(main)
