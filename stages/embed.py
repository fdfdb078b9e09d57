"""embed: adversarial images -> their raw embeddings; of the training images that is the bank.

Without a threat, data/bank/<dataset>/embeddings.parquet; with one, data/test/<dataset>/<threat>/features.parquet.
"""

from pathlib import Path

from stages.banks.files import require_writable
from stages.banks.images import images_provenance, shard_paths
from stages.banks.provenance import require
from stages.command import command
from stages.embedding import Embedder, embedding
from stages.engine import engine
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import Params, load_params, threat_of


def main(dataset: str, threat: str | None = None) -> str:
    """Embeds what `craft` stored."""
    params = load_params()
    if threat is None:
        attack, source = params.attack, Path(f"data/bank/{dataset}/images")
        out = Path(f"data/bank/{dataset}/embeddings.parquet")
    else:
        attack, source = threat_of(params.oblivious, threat), Path(f"data/test/{dataset}/{threat}/images")
        out = Path(f"data/test/{dataset}/{threat}/features.parquet")
    require_writable(out)
    made_by = images_provenance(source)
    expected = {"dataset": dataset, "seed": params.seed, "data": params.data.model_dump()}
    require(made_by, source, attack=attack.model_dump(), **expected)
    with engine(params, embedder, shards=len(shard_paths(source))) as run:
        if "victim" in made_by:
            require(made_by, source, victim=run.facts["model"])
        with embedding(run, source, out, made_by) as written:
            return f"wrote {out}, {written}"


def embedder(params: Params) -> Embedder:
    """Loads the model."""
    device = choose_device(params.runtime.device)
    return Embedder(load_clip(**params.model.model_dump(), device=device), device=device, runtime=params.runtime)


if __name__ == "__main__":
    command(main)
