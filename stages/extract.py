"""extract: decode and resize the raw images of a data set; store them as 8-bit images with their features."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from stages.crafting.embedding import EmbeddingWorker, embedding
from stages.datasets.decode import open_files, read_content
from stages.datasets.embedded import content_of, open_rows
from stages.datasets.index import Index, read_index, taking_part
from stages.models.clip import Clip, load_model
from stages.models.context import handwritten_tokens
from stages.models.text_tower import TextTower
from stages.runtime.cli import command, progress
from stages.runtime.engine import Local
from stages.runtime.params import Params, load_params
from stages.storage.card import Card, read_card
from stages.storage.files import require_writable, resuming
from stages.storage.images import Images, gather, write_missing, write_shard
from stages.storage.layout import clean_images, index_file, raw_folder, test_features, train_features
from stages.storage.provenance import key_of, require, with_versions

SPLITS = ("train", "test")


def main(dataset: str, split: str | None = None) -> str:
    """Decode, resize and embed both splits, or the one that is named."""
    params = load_params()
    if split not in (None, *SPLITS):
        raise ValueError(f"no split called {split!r}; there are: {', '.join(SPLITS)}")
    card = read_card(dataset)
    index = read_index(dataset)
    require({"dataset_sha256": index.sha256}, index_file(dataset), dataset_sha256=card.sha256)
    if params.data.validation:
        index = index.validating(params.data.validation)
    splits = SPLITS if split is None else (split,)
    require_writable(*(out for name in splits for out in outs_of(dataset, name)))
    parts = {name: images_of_split(index, name, params, dataset) for name in splits}
    clip, device = load_model(params)
    handwritten_tokens(card.template, card.class_names, TextTower(clip.model, clip.tokenizer))  # refuses names early
    embedder = EmbeddingWorker(clip, device=device, runtime=params.runtime)
    decode = decoder(card, clip, params.runtime.workers_on("cpu"))
    summaries = []
    with ExitStack() as together:  # all four appear together at the end, because DVC removes outputs before a rerun
        for name, part in parts.items():
            made_by = with_versions(
                dataset=dataset, dataset_sha256=card.sha256, split=name, data=params.data.of(name), seed=params.seed
            )
            images, features = outs_of(dataset, name)
            pieces = together.enter_context(resuming(images, key_of({"model": clip.fingerprint}, [], device="cpu")))
            shards, folder = part.shards(params.data.shard_rows), pieces / images.name
            paths = [pieces / f"shards/{shard.sha256}.parquet" for shard in shards]
            written = write_missing(paths, progress(shards, what="decode", total=len(shards)), decode)
            gather(written.paths, folder, made_by)
            together.enter_context(embedding(Local(embedder), folder, features, made_by))
            summaries.append(f"wrote {images}, {features}, {written}")
    return f"{'; '.join(summaries)}, {clip.image_size} px"


def outs_of(dataset: str, split: str) -> tuple[Path, Path]:
    """Return where the clean images of a split go, and where their features go."""
    features = train_features(dataset) if split == "train" else test_features(dataset, "clean")
    return clean_images(dataset, split), features


def images_of_split(index: Index, split: str, params: Params, dataset: str) -> Index:
    """Return the images of a split that take part.

    Raises:
        ValueError: If the split is empty, or there are fewer images than asked for.
    """
    if split not in index.splits:
        raise ValueError(f"{dataset} has no {split} images; a data set with test images alone goes under `test_only`")
    chosen = {"shots": params.data.shots, "test_images": params.data.test_images}
    return taking_part(index.part(split), **chosen, seed=params.seed)


def decoder(card: Card, clip: Clip, workers: int) -> Callable[[Path, int, Index], None]:
    """Return a function that reads images, verifies their checksums, decodes, resizes, and writes them as a shard."""
    raw = raw_folder(card.name)
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
