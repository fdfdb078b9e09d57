"""attack_adaptive: a method, an attacker who knows it -> attacked test images, and the method's predictions on them."""

from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.attacks.linf import LinfBall
from stages.crafting.adaptive import adaptive_attack, left_out
from stages.crafting.batching import Batching, even_batches, fitting
from stages.crafting.shards import craft_shard
from stages.crafting.suite import VERSION
from stages.evaluation.image_features import embed_through
from stages.evaluation.load import victim_of
from stages.evaluation.study import accuracy_of, predictions_table, read_method, study_labels, study_title
from stages.evaluation.subset import draw_from
from stages.models.clip import load_model
from stages.runtime.cli import command
from stages.runtime.engine import WorkerFacts, engine
from stages.runtime.params import AdaptiveAttack, AutoAttack, Params, Square, Suite, load_params, threat_of
from stages.storage.card import read_card
from stages.storage.embeddings import read_bank, write_bank
from stages.storage.files import replacing, require_writable, resuming
from stages.storage.images import (
    Images,
    checksums_of,
    gather,
    images_provenance,
    read_attacks,
    together,
    write_images,
    write_shard,
)
from stages.storage.layout import adaptive_images, clean_images, predictions_file, prompts_file
from stages.storage.parquet import write_table
from stages.storage.prompts import PromptFile
from stages.storage.provenance import key_of, require, with_versions
from stages.storage.tensors import checksum_of


def main(dataset: str, study: str, group: str, method: str, threat: str) -> str:
    """Attack some test images through each of the first tuning seeds, store them, and classify what was stored."""
    params = load_params()
    settings = threat_of(params.adaptive, threat)
    images = adaptive_images(dataset, study, group, method, threat)
    out = predictions_file(dataset, study, group, method, threat)
    require_writable(images, out)
    card = read_card(dataset)
    labels = study_labels(study, len(card.class_names))
    source = clean_images(dataset, "test")
    clean = images_provenance(source)
    same = {"dataset_sha256": card.sha256}
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.of("test"), **same)
    prompts = read_method(dataset, study, params.methods.find(group, method), params, **same)
    draw = draw_from(source, labels, settings.images, seed=params.seed)
    # images in one batch of the package share its noise, so each of its batches is a shard
    rows = settings.batch_size if isinstance(settings, AutoAttack | Square) else params.data.shard_rows
    title = study_title(dataset, study)
    tables: list[pa.Table] = []
    written = []
    worker = partial(AdaptiveAttackWorker, settings=settings, prompts=prompts)
    with engine(params, worker, shards=draw.count_shards(rows)) as run:
        require(prompts.provenance, out, model=run.facts.model)
        made_by = {**clean, "attack": settings.model_dump(), "method": prompts.provenance}
        if isinstance(settings, Suite):
            made_by["suite"] = VERSION
        inputs = [*checksums_of(source), checksum_of(prompts_file(dataset, study, group, method))]
        key = key_of(made_by, inputs, device=run.facts.device)
        with resuming(images, key) as pieces, replacing(out) as file:
            write_images(drawn := pieces / "drawn", draw.shards(rows), {})
            for seed in range(min(settings.tuning_seeds, len(prompts.text_features))):
                folder, features = (pieces / name / f"seed-{seed}" for name in (images.name, "features"))
                attack, shards = partial(AdaptiveAttackWorker.attack, seed=seed), pieces / f"shards/seed-{seed}"
                written.append(run.map(attack, drawn, shards, what=f"{method} {threat}"))
                gather(written[-1].paths, folder, {**made_by, "tuning_seed": seed})
                embed = partial(AdaptiveAttackWorker.embed, seed=seed)
                embedded = run.map(embed, folder, features, what=f"embed {method} {threat}")
                about: dict[str, Any] = {"title": title, "threat": threat, "method": method, "seed": seed}
                classified = [predictions_table(read_bank(path)[0], prompts, **about) for path in embedded.paths]
                tables += map(beside_attacks, classified, written[-1].paths)
            write_table(file, tables, with_versions(images=made_by, method=prompts.provenance))
    kept = together(written)
    missing = left_out(settings, len(labels))
    fallen = f", wrong: {listed(tables)}" if isinstance(settings, Suite) else ""
    return f"wrote {out}, {kept}{missing}, accuracy on attacked images: {accuracy_of(tables):.3f}{fallen}"


def beside_attacks(table: pa.Table, shard: Path) -> pa.Table:
    """Add the column `attack` to the predictions of a shard, if the shard says which attack made each image."""
    attacks = read_attacks(shard)
    return (
        table
        if attacks is None
        else table.append_column("attack", pa.array([*map(attacks.get, table["id"].to_pylist())]))
    )


def listed(tables: list[pa.Table]) -> str:
    """Return how many images are wrong on their own and by which attack, the largest number first; in words."""
    wrong = (table.filter(pc.invert(table["correct"]))["attack"].to_pylist() for table in tables)
    counts = Counter(chain.from_iterable(wrong)).most_common()
    words = (f"{count} {'before any attack' if attack == 'none' else f'by {attack}'}" for attack, count in counts)
    return ", ".join(words) or "no image"


class AdaptiveAttackWorker:
    """Attacks shards through a method and embeds the result; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        settings: The attack.
        prompts: The method.
    """

    def __init__(self, params: Params, settings: AdaptiveAttack, prompts: PromptFile) -> None:
        self._settings, self._seed = settings, params.seed
        self._clip, self._device = load_model(params)
        self._prompts = prompts
        self._runtime = fitting(
            params.runtime, self._clip.encode_image, self._clip.image_size, self._device, samples=settings.samples
        )
        self._embedding = params.runtime  # without gradients larger batches fit
        self.facts = WorkerFacts(self._device.type, self._clip.fingerprint)

    def attack(self, path: Path, shard_index: int, shard: Images, *, seed: int) -> None:
        """Attack a shard through one tuning seed, and write it."""
        victim, made_by = victim_of(self._prompts, self._clip, seed=seed), dict[str, str]()
        attack = adaptive_attack(self._settings, victim, seed=self._seed, made_by=made_by)
        ball, batching = LinfBall(self._settings.eps / 255), self._batching(len(shard))
        crafted = craft_shard(attack, shard, ball=ball, seed=self._seed, device=self._device, batching=batching)
        write_shard(path, crafted, [made_by[id] for id in crafted.ids] if made_by else None)

    def embed(self, path: Path, shard_index: int, shard: Images, *, seed: int) -> None:
        """Embed a shard of images as the method sees them that one tuning seed left."""
        victim = victim_of(self._prompts, self._clip, seed=seed)
        bank = embed_through(victim, shard, seed=self._seed, device=self._device, runtime=self._embedding)
        write_bank(path, [bank], {})

    def _batching(self, count: int) -> Batching:
        if isinstance(self._settings, AutoAttack | Square):
            return Batching(1, 1, whole=True)
        return even_batches(self._runtime, count, self._device.type)


if __name__ == "__main__":
    command(main)
