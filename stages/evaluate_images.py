"""evaluate_images: a method x stored images -> its predictions on the clean images and under all oblivious threats.

For methods that change the image side, by a defence or an image prompt: their image features are not those of the plain
model.
"""

from functools import partial
from pathlib import Path

import pyarrow as pa

from stages.evaluation.cost import count_cost
from stages.evaluation.image_features import embed_through
from stages.evaluation.load import victim_of
from stages.evaluation.study import (
    accuracy_of,
    defence_of,
    predictions_table,
    read_method,
    study_labels,
    study_title,
)
from stages.evaluation.subset import part_of
from stages.models.clip import load_model
from stages.runtime.cli import command
from stages.runtime.engine import WorkerFacts, engine
from stages.runtime.method_blocks import WITHOUT_FEATURES
from stages.runtime.params import Params, load_params
from stages.storage.card import read_card
from stages.storage.embeddings import read_bank, write_bank
from stages.storage.files import require_writable, resuming, whole
from stages.storage.images import Images, images_provenance, shard_paths, together
from stages.storage.layout import oblivious_images, predictions_file, prompts_file
from stages.storage.parquet import write_table
from stages.storage.prompts import PromptFile
from stages.storage.provenance import key_of, require, with_versions
from stages.storage.tensors import checksum_of


def main(dataset: str, study: str, group: str, method: str) -> str:
    """Classify the stored images with every tuning seed of a method, through its defence and image prompt."""
    params = load_params()
    out = predictions_file(dataset, study, group, method, "oblivious")
    require_writable(out)
    card = read_card(dataset)
    labels = study_labels(study, len(card.class_names))
    same = {"dataset_sha256": card.sha256}
    about_images = {"dataset": dataset, "split": "test", "seed": params.seed, "data": params.data.of("test"), **same}
    prompts = read_method(dataset, study, params.methods.find(group, method), params, **same)
    folders = {threat: oblivious_images(dataset, threat) for threat in ("clean", *params.oblivious)}
    made_by = {threat: images_provenance(folder) for threat, folder in folders.items()}
    for threat, folder in folders.items():
        expected = {"attack": params.oblivious[threat].model_dump()} if threat in params.oblivious else {}
        require(made_by[threat], folder, **about_images, **expected)
    features_differ = prompts.has_image_prompt or defence_of(prompts.provenance) in WITHOUT_FEATURES
    tables: dict[str, list[pa.Table]] = {threat: [] for threat in folders}
    written = []
    with engine(params, EvaluationWorker, prompts, labels, shards=len(shard_paths(folders["clean"]))) as run:
        require(prompts.provenance, out, model=run.facts.model)
        cost = run.call(EvaluationWorker.cost)
        inputs = [checksum_of(prompts_file(dataset, study, group, method))]
        with resuming(out, key_of(prompts.provenance, inputs, device=run.facts.device)) as pieces:
            for threat, folder in folders.items():
                about = {"title": study_title(dataset, study), "method": method, "threat": threat}
                for seed in range(len(prompts.text_features)):
                    if seed == 0 or features_differ:  # seeds that see the same features share them
                        embed = partial(EvaluationWorker.embed, seed=seed)
                        shards = pieces / f"shards/{threat}/seed-{seed}"
                        written.append(run.map(embed, folder, shards, what=f"embed {method} {threat}"))
                    banks = (read_bank(path)[0] for path in written[-1].paths)
                    tables[threat] += [predictions_table(bank, prompts, seed=seed, **about) for bank in banks]
            with whole(pieces / out.name) as temporary:
                every = [table for of_threat in tables.values() for table in of_threat]
                write_table(temporary, every, with_versions(images=made_by, method=prompts.provenance, cost=cost))
    accuracies = ", ".join(f"{threat} {accuracy_of(of_threat):.3f}" for threat, of_threat in tables.items())
    passes = f"{cost['forwards']} forward and {cost['backwards']} backward passes of the image tower"
    passes += f" and {cost['text']} of the text tower" if cost["text"] else ""
    return f"wrote {out}, {together(written)}, {passes} per prediction, accuracy on these images: {accuracies}"


class EvaluationWorker:
    """Embeds shards through a method; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        prompts: The method.
        labels: The classes of the study.
    """

    def __init__(self, params: Params, prompts: PromptFile, labels: range) -> None:
        self._clip, self._device = load_model(params)
        self._prompts, self._labels, self._seed, self._runtime = prompts, labels, params.seed, params.runtime
        self.facts = WorkerFacts(self._device.type, self._clip.fingerprint)

    def embed(self, path: Path, shard_index: int, shard: Images, *, seed: int) -> None:
        """Embed the images of the study in a shard as the method sees them that one tuning seed left."""
        victim, part = victim_of(self._prompts, self._clip, seed=seed), part_of(shard, self._labels)
        bank = embed_through(victim, part, seed=self._seed, device=self._device, runtime=self._runtime)
        write_bank(path, [bank], {})

    def cost(self) -> dict[str, int]:
        """Return the passes that a prediction takes, see `count_cost`."""
        return count_cost(victim_of(self._prompts, self._clip, seed=0))


if __name__ == "__main__":
    command(main)
