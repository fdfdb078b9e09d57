"""defend: stored test images -> input processing -> data/test/<dataset>/<threat>+<defence>/features.parquet.

The threat `clean` stands for the clean test images: a defence costs something there, too.
"""

from functools import partial
from pathlib import Path

from stages.crafting.embedding import EmbeddingWorker, embedding
from stages.defences.defence import defence_of
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.runtime.cli import command
from stages.runtime.engine import Local
from stages.runtime.params import load_params, threat_of
from stages.storage.files import require_writable
from stages.storage.images import images_provenance
from stages.storage.provenance import require


def main(dataset: str, threat: str, defence: str) -> str:
    """Embeds what a defence makes of the images that `extract` or `craft` stored."""
    params = load_params()
    device = choose_device(params.runtime.device)
    settings = threat_of(params.defences, defence)
    if threat == "clean":
        source, expected = Path(f"data/clean/{dataset}/test/images"), {}
    else:
        source = Path(f"data/test/{dataset}/{threat}/images")
        expected = {"attack": threat_of(params.oblivious, threat).model_dump()}
    out = Path(f"data/test/{dataset}/{threat}+{defence}/features.parquet")
    require_writable(out)
    made_by = images_provenance(source)
    require(made_by, source, dataset=dataset, split="test", seed=params.seed, data=params.data.model_dump(), **expected)
    clip = load_clip(**params.model.model_dump(), device=device)
    if "victim" in made_by:
        require(made_by, source, victim=clip.fingerprint)

    made_by["defence"] = settings.model_dump()
    prepare = partial(defence_of(settings).of_ids, seed=params.seed)
    embedder = EmbeddingWorker(clip, device=device, runtime=params.runtime, prepare=prepare)
    with embedding(Local(embedder), source, out, made_by) as written:
        return f"wrote {out}, {written}"


if __name__ == "__main__":
    command(main)
