"""defend: stored test images -> input processing -> data/test/<dataset>/<threat>+<defence>/features.parquet.

The threat `clean` stands for the clean test images: a defence costs something there, too.
"""

from pathlib import Path

from stages.banks.bank import write_bank
from stages.banks.files import replacing
from stages.banks.images import count_images, images_provenance, read_images, shard_paths
from stages.banks.provenance import require
from stages.command import command, progress
from stages.defending import prepared_by
from stages.embedding import embed_shard
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import load_params, threat_of


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
    made_by = images_provenance(source)
    require(made_by, source, dataset=dataset, split="test", seed=params.seed, **expected)
    clip = load_clip(**params.model.model_dump(), device=device)
    if "victim" in made_by:
        require(made_by, source, victim=clip.fingerprint)

    shards = progress(read_images(source), what=f"{defence} {threat}", total=len(shard_paths(source)))
    prepare = prepared_by(settings, seed=params.seed)
    parts = (embed_shard(clip, shard, device=device, runtime=params.runtime, prepare=prepare) for shard in shards)
    out = Path(f"data/test/{dataset}/{threat}+{defence}/features.parquet")
    with replacing(out) as file:
        write_bank(file, parts, {**made_by, "model": clip.fingerprint, "defence": settings.model_dump()})
    return f"wrote {out}, n = {count_images(source)}"


if __name__ == "__main__":
    command(main)
