"""craft: attack the training images without any prompt; the 8-bit adversarial images are those of the bank."""

from stages.crafting.feature import FeatureAttackWorker
from stages.runtime.cli import command
from stages.runtime.engine import engine
from stages.runtime.params import load_params
from stages.storage.files import require_writable, resuming
from stages.storage.images import gather, images_provenance, shard_paths
from stages.storage.layout import bank_images, clean_images
from stages.storage.provenance import key_of, require


def main(dataset: str) -> str:
    """Attack the training images of a data set and store the adversarial images."""
    params = load_params()
    attack = params.attack
    source, out = clean_images(dataset, "train"), bank_images(dataset)
    require_writable(out)
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="train", seed=params.seed, data=params.data.of("train"))
    size = clean["shape"][0]
    with engine(params, FeatureAttackWorker, attack, size, shards=len(shard_paths(source))) as run:
        made_by = {"seed": params.seed, "attack": attack.model_dump(), **run.facts.provenance}
        with resuming(out, key_of(made_by, [], device=run.facts.device)) as pieces:
            written = run.map(FeatureAttackWorker.attack, source, pieces / "shards", what="craft bank")
            gather(written.paths, pieces / out.name, {**clean, **made_by})
    return f"wrote {out}, {written}, eps {attack.eps:g}/255, {attack.steps} steps{run.facts.note}"


if __name__ == "__main__":
    command(main)
