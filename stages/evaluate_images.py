"""evaluate_images: a method x stored images -> its predictions on the clean images and under all oblivious threats.

For methods that change the image side, by a defence or an image prompt: their image features are not those of the plain
model.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from stages.datasets.card import read_card
from stages.evaluation.cost import count_cost
from stages.evaluation.image_features import embed_through
from stages.evaluation.load import victim_of
from stages.evaluation.study import accuracy_of, predictions_table, read_method, study_labels, study_title
from stages.evaluation.subset import part_of
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.files import replacing, require_writable
from stages.storage.images import images_provenance, read_images
from stages.storage.layout import oblivious_images, predictions_file
from stages.storage.parquet import write_table
from stages.storage.provenance import require, with_versions


def main(dataset: str, study: str, group: str, method: str) -> str:
    """Classify the stored images with every tuning seed of a method, through its defence and image prompt."""
    params = load_params()
    out = predictions_file(dataset, study, group, method, "oblivious")
    require_writable(out)
    card = read_card(dataset)
    labels = study_labels(study, len(card.class_names))
    same = {"dataset_sha256": card.sha256}
    prompts = read_method(dataset, study, params.methods.find(group, method), params, **same)
    device = choose_device(params.runtime.device)
    clip = load_clip(**params.model.model_dump(), device=device)
    require(prompts.provenance, out, model=clip.fingerprint)

    def predictions(folder: Path, threat: str) -> Iterator[pa.Table]:
        """Yield the rows of one threat; seeds that see the same features share them."""
        about = {"title": study_title(dataset, study), "method": method, "threat": threat}
        for seed in range(len(prompts.text_features)):
            victim = victim_of(prompts, clip, seed=seed)
            if seed == 0 or prompts.has_image_prompt or not victim.has_features:
                embed = partial(embed_through, victim, seed=params.seed)
                shards = (part_of(shard, labels) for shard in read_images(folder))
                banks = [embed(shard, device=device, runtime=params.runtime) for shard in shards]
            yield from (predictions_table(bank, prompts, seed=seed, **about) for bank in banks)

    made_by, tables = {}, {}
    for threat, attack in {"clean": None, **params.oblivious}.items():
        folder = oblivious_images(dataset, threat)
        made_by[threat] = images_provenance(folder)
        expected = {"attack": attack.model_dump()} if attack else {}
        require(made_by[threat], folder, dataset=dataset, split="test", seed=params.seed, **same, **expected)
        tables[threat] = [*predictions(folder, threat)]
    cost = count_cost(victim_of(prompts, clip, seed=0))
    with replacing(out) as temporary:
        every = [table for of_threat in tables.values() for table in of_threat]
        write_table(temporary, every, with_versions(images=made_by, method=prompts.provenance, cost=cost))
    accuracies = ", ".join(f"{threat} {accuracy_of(of_threat):.3f}" for threat, of_threat in tables.items())
    passes = f"{cost['forwards']} forward and {cost['backwards']} backward passes of the image tower"
    passes += f" and {cost['text']} of the text tower" if cost["text"] else ""
    return f"wrote {out}, {passes} per prediction, accuracy on these images: {accuracies}"


if __name__ == "__main__":
    command(main)
