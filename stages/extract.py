"""extract: raw data set -> data/clean/<dataset>/{train,test}, 8-bit images at the model's size and their features."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from stages.crafting.embedding import EmbeddingWorker, embedding
from stages.crafting.model import load_model
from stages.datasets.card import Card
from stages.datasets.card_file import read_card
from stages.datasets.decode import open_files, read_content
from stages.datasets.embedded import content_of, open_rows
from stages.datasets.index import Index, taking_part
from stages.datasets.index_file import path_of_index, read_index
from stages.models.clip import Clip
from stages.runtime.cli import command, progress
from stages.runtime.engine import Local
from stages.runtime.params import Params, load_params
from stages.storage.files import require_writable, resuming
from stages.storage.images import Images, gather, write_missing, write_shard
from stages.storage.provenance import key_of, provenance, require

SPLITS = ("train", "test")


def main(dataset: str, split: str | None = None) -> str:
    """Decodes, resizes and embeds both splits, or the one that is named."""
    params = load_params()
    if split not in (None, *SPLITS):
        raise ValueError(f"no split called {split!r}; there are: {', '.join(SPLITS)}")
    card = read_card(dataset)
    index = read_index(dataset)
    require({"dataset_sha256": index.sha256}, path_of_index(dataset), dataset_sha256=card.sha256)
    if params.data.validation:
        index = index.validating(params.data.validation)
    splits = SPLITS if split is None else (split,)
    outs = [Path(f"data/clean/{dataset}/{name}/{out}") for name in splits for out in ("images", "features.parquet")]
    require_writable(*outs)
    parts = {name: images_of_split(index, name, params, dataset) for name in splits}
    clip, device = load_model(params)
    embedder = EmbeddingWorker(clip, device=device, runtime=params.runtime)
    decode = decoder(card, clip, params.runtime.workers_on("cpu"))
    told = []
    with ExitStack() as together:  # all four take their places at the end: DVC would remove those of an interrupted run
        for name, part in parts.items():
            made_by = provenance(
                dataset=dataset, dataset_sha256=card.sha256, split=name, data=params.data.model_dump(), seed=params.seed
            )
            images = Path(f"data/clean/{dataset}/{name}/images")
            pieces = together.enter_context(resuming(images, key_of({"model": clip.fingerprint}, [], device="cpu")))
            shards = part.shards(params.data.shard_rows)
            paths = [pieces / f"shards/{shard.sha256}.parquet" for shard in shards]
            written = write_missing(paths, progress(shards, what="decode", total=len(shards)), decode)
            folder = pieces / images.name
            gather(written.paths, folder, made_by)
            features = images.with_name("features.parquet")
            together.enter_context(embedding(Local(embedder), folder, features, made_by))
            told.append(f"{name} {written}")
    return f"wrote data/clean/{dataset}, {', '.join(told)}, {clip.image_size} px"


def images_of_split(index: Index, split: str, params: Params, dataset: str) -> Index:
    """The images of a split that take part.

    Raises:
        ValueError: If the split is empty, or there are fewer images than asked for.
    """
    if split not in index.splits:
        raise ValueError(f"{dataset} has no {split} images; a data set to be judged alone goes under `test_only`")
    chosen = {"shots": params.data.shots, "test_images": params.data.test_images}
    return taking_part(index.part(split), **chosen, seed=params.seed)


def decoder(card: Card, clip: Clip, workers: int) -> Callable[[Path, int, Index], None]:
    """Return what writes a shard of some images: compared with their digests, decoded, brought to the model's size."""
    raw = Path(f"data/raw/{card.name}")
    content, open_image = (
        (content_of(raw), open_rows(raw)) if card.packed else (partial(read_content, raw), open_files(raw))
    )

    def prepare(id: str, digest: bytes) -> np.ndarray:
        if hashlib.sha256(content(id)).digest() != digest:
            raise ValueError(f"{raw / id}: not the image that `fetch` has listed; run `dvc repro`")
        return clip.fit(open_image(id))

    def decode(path: Path, _: int, part: Index) -> None:
        with ThreadPoolExecutor(workers) as pool:
            pixels = np.stack(list(pool.map(prepare, part.ids, part.digests)))
        write_shard(path, Images(part.ids, part.labels, pixels))

    return decode


if __name__ == "__main__":
    command(main)
