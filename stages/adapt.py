"""adapt: an attacker who knows the very prompts under test -> data/rows/<dataset>/<threat>.parquet and the images.

Each prompt, and each of the first tuning seeds, is attacked by itself, through its own text features.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, margin
from stages.attacks.pgd import Direction, Objective
from stages.banks.files import replacing
from stages.banks.images import images_provenance, read_all_images, write_images
from stages.banks.provenance import provenance, require
from stages.banks.table import write_table
from stages.command import command, progress
from stages.crafting import Recipe, craft_shard
from stages.datasets.fewshot import choose
from stages.embedding import embed_shard
from stages.judging import accuracy_of, read_prompts, rows_of
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.params import load_params, threat_of
from stages.prompts.classify import cosine_logits
from stages.prompts.file import PromptFile

OBJECTIVES = {"cross_entropy": cross_entropy, "margin": margin}


def main(dataset: str, threat: str) -> str:
    """Attacks some test images through each prompt, stores them, embeds what was stored, judges it."""
    params = load_params()
    device = choose_device(params.runtime.device)
    attack = threat_of(params.adaptive, threat)
    clip = load_clip(**params.model.model_dump(), device=device)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed)
    shard = read_all_images(source)
    if attack.images != "all":
        shard = shard.take(choose(shard.ids, attack.images, seed=params.seed))
    prompts_by = read_prompts(dataset, model=clip.fingerprint, dataset_sha256=clean["dataset_sha256"])
    work = [
        (prompt, prompts, seed)
        for prompt, prompts in prompts_by.items()
        for seed in range(min(attack.tuning_seeds, len(prompts.text_features)))
    ]

    made_by = {**clean, "attack": attack.model_dump(), "victim": clip.fingerprint}
    rows = []
    images_out, rows_out = Path(f"data/test/{dataset}/{threat}/images"), Path(f"data/rows/{dataset}/{threat}.parquet")
    with replacing(images_out) as folder, replacing(rows_out) as file:
        for prompt, prompts, seed in progress(work, what=f"adapt {threat}", total=len(work)):
            images_adv = craft_shard(
                adaptive_recipe(OBJECTIVES[attack.objective], clip, prompts, seed, device),
                shard,
                attack=attack,
                seed=params.seed,
                device=device,
                runtime=params.runtime,
            )
            write_images(folder / f"{prompt}-{seed}", [images_adv], {**made_by, "prompts": prompts.provenance})
            bank = embed_shard(clip, images_adv, device=device, runtime=params.runtime)
            rows.append(rows_of(bank, prompts, dataset=dataset, threat=threat, prompt=prompt, seed=seed))
        provenances = {prompt: prompts.provenance for prompt, prompts in prompts_by.items()}
        write_table(file, rows, provenance(images=made_by, prompts=provenances))
    headline = ", ".join(
        f"{name}-{seed} {accuracy_of(part):.3f}" for (name, _, seed), part in zip(work, rows, strict=True)
    )
    return f"wrote {rows_out}, n = {len(shard)}, right: {headline}"


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
