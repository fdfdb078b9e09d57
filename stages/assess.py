"""assess: a prompt's first tuning seed, some test images -> data/assessment/<dataset>.parquet: the evaluation attacked.

Whether a robustness number can be trusted is a question to its attack; `plot` judges what is measured here.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import torch

from stages.adapting import first_images, logits_through
from stages.assessing import Assessor, Measured
from stages.banks.files import explaining, replacing, require_writable
from stages.banks.images import Images, images_provenance, joined
from stages.banks.prompts import PromptFile
from stages.banks.provenance import provenance, require
from stages.banks.table import write_table
from stages.batches import fitting
from stages.command import command
from stages.engine import engine
from stages.judging import made_as, prompt_paths, read_study
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import Params, load_params


def main(dataset: str) -> str:
    """Attacks the evaluation of one data set."""
    params = load_params()
    out = Path(f"data/assessment/{dataset}.parquet")
    require_writable(out)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump())
    study = read_study(dataset, dataset, made_as(params), dataset_sha256=clean["dataset_sha256"])
    prompts = study.prompts[params.assess.prompt]
    shard = joined(list(first_images(source, study, params.assess.images)))
    with engine(params, Measurer, prompts, shards=1) as run:
        require(prompts.provenance, prompt_paths(dataset, dataset)[params.assess.prompt], model=run.facts["model"])
        measured = run.call("measure", shard)
    made_by = provenance(
        images=clean, prompts=prompts.provenance, victim=run.facts["model"], assess=params.assess.model_dump()
    )
    with replacing(out) as temporary:
        write_table(temporary, [pa.Table.from_pylist([line._asdict() for line in measured])], made_by)
    values = {line.measure: line.value for line in measured}
    return (
        f"wrote {out}, n = {len(shard)}, AutoAttack {values['autoattack']:.3f}, PGD "
        f"{values['pgd_of_autoattack_images']:.3f} on the same images, gain of Square {values['square_gain']:.3f}"
    )


class Measurer:
    """Measures what would betray a weak attack: a worker, see stages/engine.py.

    Args:
        params: The parameters.
        prompts: The prompts whose first tuning seed is attacked.
    """

    def __init__(self, params: Params, prompts: PromptFile) -> None:
        self._device, self._settings, self._seed = choose_device(params.runtime.device), params.assess, params.seed
        clip = load_clip(**params.model.model_dump(), device=self._device)
        self._runtime = fitting(params.runtime, clip.encode_image, clip.image_size, self._device)
        text_features = torch.tensor(prompts.text_features[0], device=self._device)
        self._logits_of = logits_through(clip, text_features, prompts.logit_scale)
        self.facts = {"device": self._device.type, "model": clip.fingerprint}

    def measure(self, shard: Images) -> list[Measured]:
        """Attacks some test images in all ways."""
        batching = self._runtime.batching(len(shard), self._device.type)
        assessor = Assessor(self._logits_of, shard, self._settings, self._seed, self._device, batching)
        with TemporaryDirectory() as folder, explaining(Path(folder)):
            return list(assessor.measurements(Path(folder)))


if __name__ == "__main__":
    command(main)
