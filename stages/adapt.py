"""adapt: an attacker who knows the very prompts under test -> data/rows/<study>/<threat>.parquet and the images.

Each prompt, and each of the first tuning seeds, is attacked by itself, through its own text features. The study is as
in `evaluate`.
"""

from math import ceil
from pathlib import Path

import pyarrow as pa
import torch

from stages.adapting import adaptive_attack, first_images, left_out, logits_through
from stages.banks.files import replacing, require_writable, resuming
from stages.banks.images import Written, images_provenance, read_images, seals_of, write_images
from stages.banks.provenance import key_of, provenance, require
from stages.banks.table import write_table
from stages.batches import fitting
from stages.command import command, progress
from stages.crafting import by_shard
from stages.defending import prepared_by
from stages.embedding import embed_shard
from stages.judging import accuracy_of, judged, made_as, read_study
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import Batching, PromptPgd, load_params, threat_of


def main(dataset: str, threat: str, study: str | None = None) -> str:
    """Attacks some test images through each prompt, stores them, embeds what was stored, judges it."""
    params = load_params()
    device = choose_device(params.runtime.device)
    settings = threat_of(params.adaptive, threat)
    images = Path(f"data/test/{study or dataset}/{threat}/images")
    out = Path(f"data/rows/{study or dataset}/{threat}.parquet")
    require_writable(images, out)
    clip = load_clip(**params.model.model_dump(), device=device)
    runtime = fitting(params.runtime, clip.encode_image, clip.image_size, device, samples=settings.samples)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump())
    same = {"model": clip.fingerprint, "dataset_sha256": clean["dataset_sha256"]}
    compared = read_study(dataset, study or dataset, made_as(params), **same)
    work = [
        (prompt, prompts, seed)
        for prompt, prompts in compared.prompts.items()
        for seed in range(min(settings.tuning_seeds, len(prompts.text_features)))
    ]
    prepare = prepared_by(settings.defence, seed=params.seed)

    def batching(count: int) -> Batching:
        if isinstance(settings, PromptPgd):
            return runtime.batching(count, device.type)
        batches = ceil(count / settings.batch_size)
        return Batching(batches, 1, whole=True)  # who is together matters to the package's noise

    made_by = {**clean, "attack": settings.model_dump(), "victim": clip.fingerprint}
    inputs = [*seals_of(source), *compared.seals]
    key = key_of({**made_by, "prompts": compared.provenances}, inputs, device=device.type)
    rows: dict[str, list[pa.Table]] = {}
    written = []
    with resuming(images, key) as pieces, replacing(out) as file:
        for prompt, prompts, seed in progress(work, what=f"adapt {threat}", total=len(work)):
            text_features = torch.tensor(prompts.text_features[seed], device=device)
            logits_of = logits_through(clip, text_features, prompts.logit_scale)
            attack = adaptive_attack(settings, logits_of, seed=params.seed)
            craft = by_shard(attack, eps=settings.eps, seed=params.seed, device=device, batching=batching)
            folder = pieces / images.name / f"{prompt}-{seed}"
            parts = first_images(source, compared, settings.images)
            about = {**made_by, "prompts": prompts.provenance, "tuning_seed": seed}
            written.append(write_images(folder, parts, about, work=craft))
            rows[f"{prompt}-{seed}"] = [
                judged(
                    embed_shard(clip, shard, device=device, runtime=params.runtime, prepare=prepare),
                    compared,
                    threat=threat,
                    prompt=prompt,
                    seed=seed,
                    defence=settings.defence.method if settings.defence else "none",
                )
                for shard in read_images(folder)
            ]
        parts = [part for parts in rows.values() for part in parts]
        write_table(file, parts, provenance(images=made_by, prompts=compared.provenances))
    headline = ", ".join(f"{name} {accuracy_of(parts):.3f}" for name, parts in rows.items())
    missing = left_out(settings, len(compared.prompts["hand"].class_names))
    return f"wrote {out}, {together(written)}{missing}, right: {headline}"


def together(written: list[Written]) -> Written:
    """What was written of the same images for several prompts."""
    return Written(written[0].images, sum(one.pieces for one in written), sum(one.kept for one in written))


if __name__ == "__main__":
    command(main)
