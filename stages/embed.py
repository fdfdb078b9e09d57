"""embed: compute the raw embeddings of the adversarial training images, the bank."""

from stages.crafting.embedding import EmbeddingWorker, embedding
from stages.models.clip import load_model
from stages.runtime.cli import command
from stages.runtime.engine import engine
from stages.runtime.params import Params, load_params
from stages.storage.files import require_writable
from stages.storage.images import images_provenance, shard_paths
from stages.storage.layout import bank_features, bank_images
from stages.storage.provenance import require


def main(dataset: str) -> str:
    """Embed the images that `craft` stored."""
    params = load_params()
    source, out = bank_images(dataset), bank_features(dataset)
    require_writable(out)
    made_by = images_provenance(source)
    expected = {"dataset": dataset, "seed": params.seed, "data": params.data.of("train")}
    require(made_by, source, attack=params.attack.model_dump(), **expected)
    with engine(params, embedder, shards=len(shard_paths(source))) as run:
        require(made_by, source, victim=run.facts.model)
        with embedding(run, source, out, made_by) as written:
            return f"wrote {out}, {written}"


def embedder(params: Params) -> EmbeddingWorker:
    """Load the model."""
    clip, device = load_model(params)
    return EmbeddingWorker(clip, device=device, runtime=params.runtime)


if __name__ == "__main__":
    command(main)
