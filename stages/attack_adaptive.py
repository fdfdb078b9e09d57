"""adapt: an attacker who knows the very prompts under test -> data/rows/<study>/<threat>.parquet and the images.

Each prompt, and each of the first tuning seeds, is attacked by itself, through its own text features. The study is as
in `evaluate`.
"""

from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from stages.attacks.linf import LinfBall
from stages.crafting.adaptive import adaptive_attack, left_out, logits_through, part_of, subset_of
from stages.crafting.batching import Batching, even_batches, fitting
from stages.crafting.defended import prepared_by
from stages.crafting.embedding import EmbeddingWorker
from stages.crafting.shards import craft_shard
from stages.evaluation.study import Study, accuracy_of, expected_provenance, judged, prompt_paths, read_study
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.runtime.cli import command, progress
from stages.runtime.engine import WorkerFacts, engine
from stages.runtime.params import AdaptiveAttack, AutoAttack, Params, Square, load_params, threat_of
from stages.storage.embeddings import read_bank
from stages.storage.files import replacing, require_writable, resuming
from stages.storage.images import Images, Written, checksums_of, gather, images_provenance, write_shard
from stages.storage.parquet import write_table
from stages.storage.provenance import key_of, provenance, require


def main(dataset: str, threat: str, study: str | None = None) -> str:
    """Attacks some test images through each prompt, stores them, embeds what was stored, judges it."""
    params = load_params()
    settings = threat_of(params.adaptive, threat)
    images = Path(f"data/test/{study or dataset}/{threat}/images")
    out = Path(f"data/rows/{study or dataset}/{threat}.parquet")
    require_writable(images, out)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump())
    compared = read_study(
        dataset, study or dataset, expected_provenance(params), dataset_sha256=clean["dataset_sha256"]
    )
    subset = subset_of(source, compared, settings.images, seed=params.seed)
    work = [
        (prompt, seed)
        for prompt, prompts in compared.prompts.items()
        for seed in range(min(settings.tuning_seeds, len(prompts.text_features)))
    ]
    defence = settings.defence.method if settings.defence else "none"
    rows: dict[str, list[pa.Table]] = {}
    written = []
    with engine(params, AdaptiveAttackWorker, settings, compared, list(subset.values()), shards=len(subset)) as run:
        made_by = {**clean, "attack": settings.model_dump(), "victim": run.facts.model}
        for prompt, path in prompt_paths(dataset, study or dataset).items():
            require(compared.prompts[prompt].provenance, path, model=run.facts.model)
        inputs = [*checksums_of(source), *compared.seals]
        key = key_of({**made_by, "prompts": compared.provenances}, inputs, device=run.facts.device)
        with resuming(images, key) as pieces, replacing(out) as file:
            for prompt, seed in progress(work, what=f"adapt {threat}", total=len(work)):
                name = f"{prompt}-{seed}"
                folder, features = pieces / images.name / name, pieces / "features" / name
                attack = partial(AdaptiveAttackWorker.attack, prompt=prompt, seed=seed)
                shards = pieces / "shards" / name
                written.append(run.map(attack, source, shards, what=f"attack {name}", chosen=list(subset)))
                through = {"prompts": compared.prompts[prompt].provenance, "tuning_seed": seed}
                gather(written[-1].paths, folder, {**made_by, **through})
                embedded = run.map(AdaptiveAttackWorker.embed, folder, features, what=f"embed {name}")
                rows[name] = [
                    judged(read_bank(path)[0], compared, threat=threat, prompt=prompt, seed=seed, defence=defence)
                    for path in embedded.paths
                ]
            parts = [part for parts in rows.values() for part in parts]
            write_table(file, parts, provenance(images=made_by, prompts=compared.provenances))
    headline = ", ".join(f"{name} {accuracy_of(parts):.3f}" for name, parts in rows.items())
    missing = left_out(settings, len(compared.prompts["hand"].class_names))
    return f"wrote {out}, {together(written)}{missing}, right: {headline}"


class AdaptiveAttackWorker:
    """Attacks shards through prompts and embeds the result; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        settings: The attack.
        study: The prompts.
        subset: Positions of the images in each chosen shard, see `subset_of`.
    """

    def __init__(self, params: Params, settings: AdaptiveAttack, study: Study, subset: list[np.ndarray]) -> None:
        self._settings, self._study, self._subset, self._seed = settings, study, subset, params.seed
        self._device = choose_device(params.runtime.device)
        self._clip = load_clip(**params.model.model_dump(), device=self._device)
        self._runtime = fitting(
            params.runtime, self._clip.encode_image, self._clip.image_size, self._device, samples=settings.samples
        )
        prepare = prepared_by(settings.defence, seed=params.seed)
        self._embedder = EmbeddingWorker(self._clip, device=self._device, runtime=params.runtime, prepare=prepare)
        self.facts = WorkerFacts(self._device.type, self._clip.fingerprint)

    def attack(self, path: Path, shard_index: int, shard: Images, *, prompt: str, seed: int) -> None:
        """Attack a shard through the prompt of one tuning seed and write the adversarial images."""
        prompts = self._study.prompts[prompt]
        text_features = torch.tensor(prompts.text_features[seed], device=self._device)
        logits_of = logits_through(self._clip, text_features, prompts.logit_scale)
        attack = adaptive_attack(self._settings, logits_of, seed=self._seed)
        part = part_of(shard, self._study, self._subset[shard_index])
        ball, batching = LinfBall(self._settings.eps / 255), self._batching(len(part))
        crafted = craft_shard(attack, part, ball=ball, seed=self._seed, device=self._device, batching=batching)
        write_shard(path, crafted)

    def embed(self, path: Path, shard_index: int, shard: Images) -> None:
        """Embed a shard of adversarial images and write its embeddings."""
        self._embedder.embed(path, shard_index, shard)

    def _batching(self, count: int) -> Batching:
        if not isinstance(self._settings, AutoAttack | Square):
            return even_batches(self._runtime, count, self._device.type)
        batches = ceil(count / self._settings.batch_size)
        return Batching(batches, 1, whole=True)  # who is together matters to the package's noise


def together(written: list[Written]) -> Written:
    """What was written of the same images for several prompts."""
    return Written(written[0].images, [path for one in written for path in one.paths], sum(one.kept for one in written))


if __name__ == "__main__":
    command(main)
