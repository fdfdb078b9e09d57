"""adapt: an attacker who knows the very prompts under test -> data/rows/<study>/<threat>.parquet and the images.

Each prompt, and each of the first tuning seeds, is attacked by itself, through its own text features. The study is as
in `evaluate`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, margin
from stages.attacks.pgd import Direction, Objective
from stages.banks.files import replacing
from stages.banks.images import Images, images_provenance, read_images, write_images
from stages.banks.provenance import provenance, require
from stages.banks.table import write_table
from stages.command import command, progress
from stages.crafting import Recipe, craft_shard
from stages.embedding import embed_shard
from stages.judging import Study, accuracy_of, judged, read_study
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.params import load_params, threat_of
from stages.prompts.classify import cosine_logits
from stages.prompts.file import PromptFile

OBJECTIVES = {"cross_entropy": cross_entropy, "margin": margin}


def main(dataset: str, threat: str, study: str | None = None) -> str:
    """Attacks some test images through each prompt, stores them, embeds what was stored, judges it."""
    params = load_params()
    device = choose_device(params.runtime.device)
    attack = threat_of(params.adaptive, threat)
    clip = load_clip(**params.model.model_dump(), device=device)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed)
    compared = read_study(dataset, study or dataset, model=clip.fingerprint, dataset_sha256=clean["dataset_sha256"])
    work = [
        (prompt, prompts, seed)
        for prompt, prompts in compared.prompts.items()
        for seed in range(min(attack.tuning_seeds, len(prompts.text_features)))
    ]

    made_by = {**clean, "attack": attack.model_dump(), "victim": clip.fingerprint}
    rows: dict[str, list[pa.Table]] = {}
    out = Path(f"data/rows/{compared.name}/{threat}.parquet")
    with replacing(Path(f"data/test/{compared.name}/{threat}/images")) as folder, replacing(out) as file:
        for prompt, prompts, seed in progress(work, what=f"adapt {threat}", total=len(work)):
            images = folder / f"{prompt}-{seed}"
            recipe = adaptive_recipe(OBJECTIVES[attack.objective], clip, prompts, seed, device)
            crafted = (
                craft_shard(recipe, shard, attack=attack, seed=params.seed, device=device, runtime=params.runtime)
                for shard in first_images(source, compared, attack.images)
            )
            write_images(images, crafted, {**made_by, "prompts": prompts.provenance})
            rows[f"{prompt}-{seed}"] = [
                judged(
                    embed_shard(clip, shard, device=device, runtime=params.runtime),
                    compared,
                    threat=threat,
                    prompt=prompt,
                    seed=seed,
                )
                for shard in read_images(images)
            ]
        parts = [part for parts in rows.values() for part in parts]
        write_table(file, parts, provenance(images=made_by, prompts=compared.provenances))
    headline = ", ".join(f"{name} {accuracy_of(parts):.3f}" for name, parts in rows.items())
    return f"wrote {out}, n = {sum(map(len, parts)) // len(rows)}, right: {headline}"


def first_images(source: Path, study: Study, count: int | str) -> Iterator[Images]:
    """At most `count` images that show a class of the study, as it labels them; `all` for all.

    `extract` put the images into a random order, so the first ones are a random choice.
    """
    left = float("inf") if count == "all" else count
    for shard in read_images(source):
        shard = shard.take(study.takes_part(shard.labels))
        part = shard.take(slice(0, int(min(left, len(shard)))))
        left -= len(part)
        if len(part):
            yield replace(part, labels=study.relabel(part.labels))
        if not left:
            return


def adaptive_recipe(
    objective_of: Callable[..., Objective], clip: Clip, prompts: PromptFile, seed: int, device: torch.device
) -> Recipe:
    """White-box in everything: up an objective of the logits that this prompt gives."""
    text_features = torch.tensor(prompts.text_features[seed], device=device)

    def logits_of(images: Tensor) -> Tensor:
        return cosine_logits(clip.encode_image(images), text_features, prompts.logit_scale)

    def recipe(images: Tensor, labels: Tensor, noise: ImageNoise) -> tuple[Objective, Direction | None]:
        return objective_of(logits_of, labels), None

    return recipe


if __name__ == "__main__":
    command(main)
