"""interpret: methods, vocabulary, embeddings -> tables of what tuned contexts are near and how text features moved.

`nearest_tokens` has the tokens nearest to every context vector, `text_feature_drift` the moves of the text features,
`cosines` those between classes, `pca` images and text features in two dimensions. Methods with the text features of the
reference are in none of them.
"""

from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from stages.interpretation.nearest_tokens import Vocabulary, vocabulary_of
from stages.interpretation.tables import cosines_table, drift_table, pca_table, with_own_text_features
from stages.interpretation.token_table import COLUMNS, nearest_tokens_table
from stages.models.clip import Clip, load_model
from stages.models.text_tower import TextTower
from stages.prompts import adversarial, learners
from stages.prompts.generators import tuning_generators, twin_generator
from stages.prompts.learners import task_of
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage import layout
from stages.storage.embeddings import Bank, read_bank
from stages.storage.files import replacing, require_writable
from stages.storage.parquet import write_table
from stages.storage.prompts import PromptFile, load_prompts
from stages.storage.provenance import with_versions


@torch.inference_mode()
def main(dataset: str) -> str:
    """Describe what the methods of one data set have learnt."""
    params = load_params()
    out = layout.interpretation_folder(dataset)
    require_writable(out)
    clip, _ = load_model(params)
    clean, attacked = read_pair(layout.train_features(dataset), layout.bank_features(dataset))
    plain = [method for method in params.methods.all() if method.group != "defended"]  # a defence changes no text
    methods = {method.name: load_prompts(layout.prompts_file(dataset, "all", *method[:2])) for method in plain}
    reference = next(method.name for method in plain if method.group == "zero_shot")
    shown = with_own_text_features(methods, reference)
    tuned = {name: prompts for name, prompts in methods.items() if prompts.context is not None}
    vocabulary = vocabulary_of(clip.tokenizer, TextTower(clip.model, clip.tokenizer))
    tables = {
        "nearest_tokens": token_tables(tuned, clip, vocabulary, twin_generator(params.seed)),
        "text_feature_drift": [drift_table(methods[reference], tuned)],
        "cosines": [cosines_table(shown)],
        "pca": [pca_table(clean, attacked, shown)],
    }
    about = with_versions(methods={name: prompts.provenance for name, prompts in methods.items()})
    with replacing(out) as folder:
        folder.mkdir()
        for name, parts in tables.items():
            write_table(folder / f"{name}.parquet", parts, about)
    contexts = ", ".join(tuned) or "none"
    return f"wrote {out}, methods with a context: {contexts}; {len(vocabulary.words)} tokens"


def token_tables(
    tuned: dict[str, PromptFile], clip: Clip, vocabulary: Vocabulary, generator: torch.Generator
) -> list[pa.Table]:
    """Return the nearest tokens of each method with a context; an empty table if there is none."""
    tables = [
        nearest_tokens_table(
            name,
            torch.from_numpy(prompts.context),
            initial_value(prompts, clip),
            prompts.class_names,
            vocabulary,
            generator,
        )
        for name, prompts in tuned.items()
    ]
    return tables or [pa.schema(COLUMNS).empty_table()]


def read_pair(clean_path: Path, bank_path: Path) -> tuple[Bank, Bank]:
    """Read the embeddings of the training images, clean and attacked.

    Raises:
        ValueError: If a file is missing or damaged, or they are not of the same images.
    """
    (clean, _), (attacked, _) = (read_bank(path) for path in (clean_path, bank_path))
    if attacked.ids != clean.ids:
        raise ValueError(f"{bank_path}: its images are not those of {clean_path}; run `dvc repro`")
    return clean, attacked


def initial_value(prompts: PromptFile, clip: Clip) -> Tensor:
    """Return the contexts that tuning began with: the same seeds draw the same again."""
    settings = prompts.provenance["block"]
    generators = tuning_generators(prompts.provenance["seed"], settings["tuning_seeds"])
    room = learners if settings["kind"] == "context" else adversarial
    initial = room.learner_of(task_of(settings, prompts.class_names, "{}", clip, generators)).initial
    return (initial["context"] if isinstance(initial, dict) else initial).cpu()


if __name__ == "__main__":
    command(main)
