"""assess: AdvPT's first tuning seed, some test images -> data/assessment/<dataset>.csv, the evaluation itself attacked.

Whether a robustness number can be trusted is a question to its attack; `plot` judges what is measured here.
"""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from stages.adapting import first_images, logits_through
from stages.assessing import Assessor, Measured
from stages.banks.files import replacing
from stages.banks.images import images_provenance, joined
from stages.banks.provenance import require
from stages.batches import fitting
from stages.command import command
from stages.judging import read_study
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import load_params

PROMPT = "advpt"


def main(dataset: str) -> str:
    """Attacks the evaluation of one data set."""
    params = load_params()
    device = choose_device(params.runtime.device)
    clip = load_clip(**params.model.model_dump(), device=device)
    runtime = fitting(params.runtime, clip.encode_image, clip.image_size, device)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed)
    study = read_study(dataset, dataset, model=clip.fingerprint, dataset_sha256=clean["dataset_sha256"])
    prompts = study.prompts[PROMPT]
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
    with TemporaryDirectory() as folder:
        measured = list(assessor.measurements(Path(folder)))
    out = Path(f"data/assessment/{dataset}.csv")
    with replacing(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Measured._fields)
        writer.writerows(measured)
    values = {line.measure: line.value for line in measured}
    return (
        f"wrote {out}, n = {len(shard)}, AutoAttack {values['autoattack']:.3f}, PGD "
        f"{values['pgd_of_autoattack_images']:.3f} on the same images, gain of Square {values['square_gain']:.3f}"
    )


if __name__ == "__main__":
    command(main)
