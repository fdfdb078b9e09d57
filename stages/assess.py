"""assess: a prompt's first tuning seed, some test images -> data/assessment/<dataset>.parquet: the evaluation attacked.

Whether a robustness number can be trusted is a question to its attack; `plot` judges what is measured here.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import torch

from stages.adapting import first_images, logits_through
from stages.assessing import Assessor
from stages.banks.files import explaining, replacing, require_writable
from stages.banks.images import images_provenance, joined
from stages.banks.provenance import provenance, require
from stages.banks.table import write_table
from stages.batches import fitting
from stages.command import command
from stages.judging import made_as, read_study
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import load_params


def main(dataset: str) -> str:
    """Attacks the evaluation of one data set."""
    params = load_params()
    out = Path(f"data/assessment/{dataset}.parquet")
    require_writable(out)
    device = choose_device(params.runtime.device)
    clip = load_clip(**params.model.model_dump(), device=device)
    runtime = fitting(params.runtime, clip.encode_image, clip.image_size, device)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump())
    same = {"model": clip.fingerprint, "dataset_sha256": clean["dataset_sha256"]}
    study = read_study(dataset, dataset, made_as(params), **same)
    prompts = study.prompts[params.assess.prompt]
    text_features = torch.tensor(prompts.text_features[0], device=device)
    shard = joined(list(first_images(source, study, params.assess.images)))
    others = max(runtime.workers_on(device.type) - 1, 1)  # one core is AutoAttack's, beside them
    batching = runtime.model_copy(update={"workers": others}).batching(len(shard), device.type)
    assessor = Assessor(
        logits_through(clip, text_features, prompts.logit_scale),
        shard,
        params.assess,
        params.seed,
        device,
        batching,
    )
    with TemporaryDirectory() as folder, explaining(Path(folder)):
        measured = list(assessor.measurements(Path(folder)))
    made_by = provenance(
        images=clean, prompts=prompts.provenance, victim=clip.fingerprint, assess=params.assess.model_dump()
    )
    with replacing(out) as temporary:
        write_table(temporary, [pa.Table.from_pylist([line._asdict() for line in measured])], made_by)
    values = {line.measure: line.value for line in measured}
    return (
        f"wrote {out}, n = {len(shard)}, AutoAttack {values['autoattack']:.3f}, PGD "
        f"{values['pgd_of_autoattack_images']:.3f} on the same images, gain of Square {values['square_gain']:.3f}"
    )


if __name__ == "__main__":
    command(main)
