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
from stages.evaluation.diagnostics import Diagnostics, outcomes_table
from stages.evaluation.load import victim_of
from stages.evaluation.study import read_method, study_labels
from stages.evaluation.subset import draw_from
from stages.models.clip import load_model
from stages.runtime.cli import command
from stages.runtime.engine import WorkerFacts, engine
from stages.runtime.params import Params, load_params
from stages.storage.card import read_card
from stages.storage.files import explaining, require_writable, resuming, whole
from stages.storage.images import Images, checksums_of, images_provenance, write_images
from stages.storage.layout import assessment_file, clean_images, prompts_file
from stages.storage.parquet import read_table, write_table
from stages.storage.prompts import PromptFile
from stages.storage.provenance import key_of, require, with_versions
from stages.storage.tensors import checksum_of

ROWS = 200  # images that are measured together; AutoAttack and Square draw noise for all of them


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
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.of("test"), **same)
    prompts = read_method(dataset, "all", params.methods.find(*settings.method.split("/")), params, **same)
    labels = study_labels("all", len(card.class_names))
    draw, few = (
        draw_from(source, labels, count, seed=params.seed) for count in (settings.images, settings.autoattack_images)
    )
    with engine(params, DiagnosticsWorker, prompts, few.images().ids, shards=draw.count_shards(ROWS)) as run:
        require(prompts.provenance, out, model=run.facts.model)
        made_by = with_versions(images=clean, method=prompts.provenance, assess=settings.model_dump())
        inputs = [*checksums_of(source), checksum_of(prompts_file(dataset, "all", *settings.method.split("/")))]
        with resuming(out, key_of(made_by, inputs, device=run.facts.device)) as pieces:
            write_images(pieces / "drawn", draw.shards(ROWS), {})
            written = run.map(DiagnosticsWorker.measure, pieces / "drawn", pieces / "shards", what="assess")
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
    """Measures what would betray a weak attack, on shards of the draw; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        prompts: The method that is attacked.
        few: Ids of the images that AutoAttack attacks, too.
    """

    def __init__(self, params: Params, prompts: PromptFile, few: list[str]) -> None:
        self._settings, self._seed = params.assess, params.seed
        clip, self._device = load_model(params)
        self._runtime = fitting(params.runtime, clip.encode_image, clip.image_size, self._device)
        self._victim = victim_of(prompts, clip, seed=0)
        self._few = few
        self.facts = WorkerFacts(self._device.type, clip.fingerprint)

    def measure(self, path: Path, shard_index: int, shard: Images) -> None:
        """Attack a shard in all ways, and write the outcome of each."""
        is_few = np.isin(shard.ids, self._few)
        shard = shard.take(np.argsort(~is_few, kind="stable"))
        batching = even_batches(self._runtime, len(shard), self._device.type)
        diagnostics = Diagnostics(
            self._victim, shard, self._settings, self._seed, self._device, batching, int(is_few.sum())
        )
        with TemporaryDirectory() as folder, explaining(Path(folder)):
            measured = list(diagnostics.measurements(Path(folder)))
        write_table(path, [outcomes_table(shard.ids, measured)], {})


if __name__ == "__main__":
    command(main)
