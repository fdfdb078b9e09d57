"""evaluate: a method x stored features -> its predictions on the clean images and under all oblivious threats.

No CLIP in memory: the image features of methods that leave the image side alone are those of the plain model.
"""

from dataclasses import replace

import numpy as np

from stages.evaluation.study import accuracy_of, predictions_table, read_method, study_labels, study_title
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.card import read_card
from stages.storage.embeddings import read_bank
from stages.storage.files import replacing, require_writable
from stages.storage.layout import predictions_file, test_features
from stages.storage.parquet import write_table
from stages.storage.provenance import require, with_versions


def main(dataset: str, study: str, group: str, method: str) -> str:
    """Classify the stored features with every tuning seed of a method."""
    params = load_params()
    out = predictions_file(dataset, study, group, method, "oblivious")
    require_writable(out)
    card = read_card(dataset)
    labels = study_labels(study, len(card.class_names))
    found = params.methods.find(group, method)
    prompts = read_method(dataset, study, found, params, dataset_sha256=card.sha256)
    same = {"dataset": dataset, "dataset_sha256": card.sha256, "model": prompts.provenance["model"]}
    same |= {"split": "test", "data": params.data.of("test"), "seed": params.seed}
    made_by, tables = {}, {}
    for threat, attack in {"clean": None, **params.oblivious}.items():
        path = test_features(dataset, threat)
        bank, made_by[threat] = read_bank(path)
        require(made_by[threat], path, **same, **({"attack": attack.model_dump()} if attack else {}))
        bank = bank.take(np.isin(bank.labels, labels))
        bank = replace(bank, labels=bank.labels - labels.start)
        tables[threat] = [
            predictions_table(bank, prompts, title=study_title(dataset, study), threat=threat, method=method, seed=seed)
            for seed in range(len(prompts.text_features))
        ]
    with replacing(out) as temporary:
        every = [table for of_threat in tables.values() for table in of_threat]
        write_table(temporary, every, with_versions(features=made_by, method=prompts.provenance))
    accuracies = ", ".join(f"{threat} {accuracy_of(of_threat):.3f}" for threat, of_threat in tables.items())
    return f"wrote {out}, n = {len(bank.ids)}, accuracy on these images: {accuracies}"


if __name__ == "__main__":
    command(main)
