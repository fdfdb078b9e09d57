"""assess: a prompt's first tuning seed, some test images -> data/test/<dataset>/assessment.parquet.

Whether a robustness number can be trusted is a question to its attack; `plot` judges what is measured here.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch

from stages.crafting.adaptive import logits_through, part_of, subset_of
from stages.crafting.batching import even_batches, fitting
from stages.evaluation.diagnostics import Diagnostics, outcomes_table, summarised
from stages.evaluation.study import Study, expected_provenance, prompt_paths, read_study
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.runtime.cli import command
from stages.runtime.engine import WorkerFacts, engine
from stages.runtime.params import Params, load_params
from stages.storage.files import explaining, require_writable, resuming, whole
from stages.storage.images import Images, checksums_of, images_provenance
from stages.storage.parquet import read_table, write_table
from stages.storage.provenance import key_of, provenance, require


def main(dataset: str) -> str:
    """Attacks the evaluation of one data set."""
    params = load_params()
    settings = params.assess
    out = Path(f"data/test/{dataset}/assessment.parquet")
    require_writable(out)
    source = Path(f"data/clean/{dataset}/test/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump())
    study = read_study(dataset, dataset, expected_provenance(params), dataset_sha256=clean["dataset_sha256"])
    prompts = study.prompts[settings.prompt].provenance
    subset = subset_of(source, study, settings.images, seed=params.seed)
    few = subset_of(source, study, settings.autoattack_images, seed=params.seed)
    is_few = [np.isin(positions, few.get(index, ())) for index, positions in subset.items()]
    with engine(params, DiagnosticsWorker, study, list(subset.values()), is_few, shards=len(subset)) as run:
        require(prompts, prompt_paths(dataset, dataset)[settings.prompt], model=run.facts.model)
        made_by = provenance(images=clean, prompts=prompts, victim=run.facts.model, assess=settings.model_dump())
        inputs = [*checksums_of(source), *study.seals]
        with resuming(out, key_of(made_by, inputs, device=run.facts.device)) as pieces:
            written = run.map(DiagnosticsWorker.measure, source, pieces / "shards", what="assess", chosen=list(subset))
            measured = summarised(pa.concat_tables([read_table(path)[0] for path in written.paths]))
            with whole(pieces / out.name) as temporary:
                write_table(temporary, [measured], made_by)
    values = dict(zip(measured["measure"].to_pylist(), measured["value"].to_pylist(), strict=True))
    return (
        f"wrote {out}, {written}, AutoAttack {values['autoattack']:.3f}, PGD "
        f"{values['pgd_of_autoattack_images']:.3f} on the same images, gain of Square {values['square_gain']:.3f}"
    )


class DiagnosticsWorker:
    """Measures what would betray a weak attack, shard by shard; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        study: The prompts, one of which is attacked.
        subset: Positions of the images in each chosen shard, see `subset_of`.
        is_few: Which of them AutoAttack attacks, too: a smaller draw.
    """

    def __init__(self, params: Params, study: Study, subset: list[np.ndarray], is_few: list[np.ndarray]) -> None:
        self._device, self._settings, self._seed = choose_device(params.runtime.device), params.assess, params.seed
        clip = load_clip(**params.model.model_dump(), device=self._device)
        self._runtime = fitting(params.runtime, clip.encode_image, clip.image_size, self._device)
        prompts = study.prompts[self._settings.prompt]
        text_features = torch.tensor(prompts.text_features[0], device=self._device)
        self._logits_of = logits_through(clip, text_features, prompts.logit_scale)
        self._study, self._subset, self._is_few = study, subset, is_few
        self.facts = WorkerFacts(self._device.type, clip.fingerprint)

    def measure(self, path: Path, shard_index: int, shard: Images) -> None:
        """Attack the images of the subset in a shard in all ways and write the outcome of each."""
        few_first = np.argsort(~self._is_few[shard_index], kind="stable")
        part = part_of(shard, self._study, self._subset[shard_index][few_first])
        batching = even_batches(self._runtime, len(part), self._device.type)
        assessor = Diagnostics(
            self._logits_of,
            part,
            self._settings,
            self._seed,
            self._device,
            batching,
            int(self._is_few[shard_index].sum()),
        )
        with TemporaryDirectory() as folder, explaining(Path(folder)):
            measured = list(assessor.measurements(Path(folder)))
        write_table(path, [outcomes_table(measured)], {})


if __name__ == "__main__":
    command(main)
