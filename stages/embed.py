"""embed: the adversarial training images -> their raw embeddings, the bank."""

from pathlib import Path

from stages.banks.files import require_writable
from stages.banks.images import images_provenance, shard_paths
from stages.banks.provenance import require
from stages.command import command
from stages.embedding import Embedder, embedding
from stages.engine import engine
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import Params, load_params


def main(dataset: str) -> str:
    """Embeds what `craft` stored."""
    params = load_params()
    source, out = Path(f"data/bank/{dataset}/images"), Path(f"data/bank/{dataset}/embeddings.parquet")
    require_writable(out)
    made_by = images_provenance(source)
    expected = {"dataset": dataset, "seed": params.seed, "data": params.data.model_dump()}
    require(made_by, source, attack=params.attack.model_dump(), **expected)
    with engine(params, embedder, shards=len(shard_paths(source))) as run:
        require(made_by, source, victim=run.facts["model"])
        with embedding(run, source, out, made_by) as written:
            return f"wrote {out}, {written}"


def embedder(params: Params) -> Embedder:
    """Loads the model."""
    device = choose_device(params.runtime.device)
    return Embedder(load_clip(**params.model.model_dump(), device=device), device=device, runtime=params.runtime)


if __name__ == "__main__":
    command(main)
