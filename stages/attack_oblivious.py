"""craft_test: test images -> adversarial ones of an oblivious threat, 8-bit, inside the ball, and their raw embeddings.

Both in one stage: an embedding is one forward pass, the attack before it one forward and one back for every step.
"""

from pathlib import Path

from stages.crafting.embedding import EmbeddingWorker, embedding
from stages.crafting.feature import FeatureAttackWorker
from stages.crafting.transfer import TransferAttackWorker
from stages.models.clip import load_clip
from stages.runtime.cli import command
from stages.runtime.engine import ShardFolder, Work, engine
from stages.runtime.params import FeaturePgd, Params, Transfer, load_params, threat_of
from stages.storage.files import require_writable, resuming, whole
from stages.storage.images import checksums_of, images_provenance, note_count, shard_paths
from stages.storage.notes import write_note
from stages.storage.provenance import key_of, require


def main(dataset: str, threat: str) -> str:
    """Attacks the test images of a data set, stores what comes out, and embeds what was stored."""
    params = load_params()
    attack = threat_of(params.oblivious, threat)
    images, features = (Path(f"data/test/{dataset}/{threat}/{name}") for name in ("images", "features.parquet"))
    require_writable(images, features)
    source, train = (Path(f"data/clean/{dataset}/{split}/images") for split in ("test", "train"))
    inputs = checksums_of(source)
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump())
    fitted_to = None
    if isinstance(attack, Transfer):
        require_training(train)
        inputs += checksums_of(train)
        fitted_to = ShardFolder(train)
    with engine(
        params, ObliviousAttackWorker, attack, fitted_to, clean["shape"][0], shards=len(shard_paths(source))
    ) as run:
        made_by = {**clean, "attack": attack.model_dump(), **run.facts["knows"]}
        with resuming(images, key_of(made_by, inputs, device=run.facts["device"])) as pieces:
            folder, note = pieces / images.name, run.facts["note"]
            written = run.write(Work(folder, source, made_by, f"craft {threat}"))
            note_count(folder, written.pieces)
            if isinstance(attack, Transfer):
                found = run.call("judge", ShardFolder(source), ShardFolder(folder))
                with whole(folder / "surrogate.json") as note_file:
                    write_note(note_file, {**run.facts["knows"]["surrogate"], **found})
                note = (
                    f", surrogate right on {found['clean_accuracy']:.3f} clean, {found['robust_accuracy']:.3f} attacked"
                )
            with embedding(run, folder, features, images_provenance(folder), method="embed") as embedded:
                pass  # both are put into place, or neither
    of_attack = f"eps {attack.eps:g}/255, {attack.steps} steps{note}"
    return f"wrote {images}, {written}, {of_attack}; {features}, {embedded}"


def require_training(train: Path) -> None:
    """Refuses a surrogate where a data set has no training images."""
    if not train.is_dir():
        raise ValueError(
            f"{train}: no training images to fit a surrogate to; leave transfer threats out for a data set that is "
            "judged alone (dvc exp run -S '~oblivious.transfer_eps8' ...)"
        )


class ObliviousAttackWorker:
    """Attacks shards of test images, and embeds what was stored: a worker, see stages/runtime/engine.py.

    Args:
        params: The parameters.
        settings: The attack.
        train: The training images, which a surrogate is fitted to; None for an attack without one.
        image_size: H and W, in pixels.
    """

    def __init__(self, params: Params, settings: FeaturePgd | Transfer, train: Path | None, image_size: int) -> None:
        match settings:
            case FeaturePgd():
                crafter = FeatureAttackWorker(params, settings, params.model, image_size)
                clip = crafter.clip
            case Transfer():
                crafter = TransferAttackWorker(params, settings, train, image_size)
                clip = load_clip(**params.model.model_dump(), device=crafter.device)
                self.judge = crafter.judge
        self.make = crafter.make
        self.embed = EmbeddingWorker(clip, device=crafter.device, runtime=params.runtime).make
        self.facts = {**crafter.facts, "model": clip.fingerprint}


if __name__ == "__main__":
    command(main)
