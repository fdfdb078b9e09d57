"""assess: a method's first tuning seed, some test images -> measurements of the attacks themselves.

Whether a robust accuracy can be trusted is a question to its attack; `plot` compares what is measured here with what
must hold.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.crafting.batching import even_batches, fitting
from stages.datasets.card import read_card
from stages.evaluation.diagnostics import Diagnostics, outcomes_table
from stages.evaluation.load import victim_of
from stages.evaluation.study import read_method, study_labels
from stages.evaluation.subset import part_of, subset_of
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.runtime.cli import command
from stages.runtime.engine import WorkerFacts, engine
from stages.runtime.params import Params, load_params
from stages.storage.files import explaining, require_writable, resuming, whole
from stages.storage.images import Images, checksums_of, images_provenance
from stages.storage.layout import assessment_file, clean_images, prompts_file
from stages.storage.parquet import read_table, write_table
from stages.storage.prompts import PromptFile
from stages.storage.provenance import key_of, require, with_versions
from stages.storage.tensors import checksum_of


def main(dataset: str) -> str:
    """Attack the evaluation of one data set."""
    params = load_params()
    settings = params.assess
    out = assessment_file(dataset)
    require_writable(out)
    source = clean_images(dataset, "test")
    clean = images_provenance(source)
    card = read_card(dataset)
    same = {"dataset_sha256": card.sha256}
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump(), **same)
    prompts = read_method(dataset, "all", params.methods.find(*settings.method.split("/")), params, **same)
    labels = study_labels("all", len(card.class_names))
    subset = subset_of(source, labels, settings.images, seed=params.seed)
    few = subset_of(source, labels, settings.autoattack_images, seed=params.seed)
    is_few = [np.isin(positions, few.get(index, ())) for index, positions in subset.items()]
    with engine(params, DiagnosticsWorker, prompts, labels, [*subset.values()], is_few, shards=len(subset)) as run:
        require(prompts.provenance, out, model=run.facts.model)
        made_by = with_versions(images=clean, method=prompts.provenance, assess=settings.model_dump())
        inputs = [*checksums_of(source), checksum_of(prompts_file(dataset, "all", *settings.method.split("/")))]
        with resuming(out, key_of(made_by, inputs, device=run.facts.device)) as pieces:
            written = run.map(DiagnosticsWorker.measure, source, pieces / "shards", what="assess", chosen=[*subset])
            measured = pa.concat_tables([read_table(path)[0] for path in written.paths])
            with whole(pieces / out.name) as temporary:
                write_table(temporary, [measured], made_by)
    correct = measured.filter(pc.field("measure") == "correct")
    after = [correct.filter(pc.field("attack") == name)["outcome"] for name in ("none", "square", "autoattack")]
    written = written._replace(images=len(after[0]))
    accuracies = [f"{pc.mean(of).as_py():.3f}" for of in after]
    return (
        f"wrote {out}, {written}, {settings.method} at eps {settings.at_eps:g}: accuracy {accuracies[0]}, "
        f"after PGD and Square {accuracies[1]}, after AutoAttack {accuracies[2]} (n = {len(after[2])})"
    )


class DiagnosticsWorker:
    """Measures what would betray a weak attack, shard by shard; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        prompts: The method that is attacked.
        labels: Its classes.
        subset: Positions of the images in each chosen shard, see `subset_of`.
        is_few: Which of them AutoAttack attacks, too: a smaller draw.
    """

    def __init__(
        self,
        params: Params,
        prompts: PromptFile,
        labels: range,
        subset: list[np.ndarray],
        is_few: list[np.ndarray],
    ) -> None:
        self._device, self._settings, self._seed = choose_device(params.runtime.device), params.assess, params.seed
        clip = load_clip(**params.model.model_dump(), device=self._device)
        self._runtime = fitting(params.runtime, clip.encode_image, clip.image_size, self._device)
        self._victim = victim_of(prompts, clip, seed=0)
        self._labels, self._subset, self._is_few = labels, subset, is_few
        self.facts = WorkerFacts(self._device.type, clip.fingerprint)

    def measure(self, path: Path, shard_index: int, shard: Images) -> None:
        """Attack the images of the subset in a shard in all ways, and write the outcome of each."""
        few_first = np.argsort(~self._is_few[shard_index], kind="stable")
        part = part_of(shard, self._labels, self._subset[shard_index][few_first])
        batching = even_batches(self._runtime, len(part), self._device.type)
        diagnostics = Diagnostics(
            self._victim, part, self._settings, self._seed, self._device, batching, int(self._is_few[shard_index].sum())
        )
        with TemporaryDirectory() as folder, explaining(Path(folder)):
            measured = list(diagnostics.measurements(Path(folder)))
        write_table(path, [outcomes_table(part.ids, measured)], {})


if __name__ == "__main__":
    command(main)
