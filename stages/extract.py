"""extract: raw data set -> data/clean/<dataset>/{train,test}, 8-bit images at the model's size and their features."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from stages.banks.bank import write_bank
from stages.banks.files import replacing
from stages.banks.images import Images, count_images, read_images, shard_paths, write_images
from stages.banks.provenance import provenance
from stages.command import command, progress
from stages.datasets.card import Card, read_card
from stages.datasets.decode import open_files
from stages.datasets.embedded import open_rows
from stages.datasets.index import Index, taking_part
from stages.embedding import embed_shard
from stages.indexing import read_index
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.params import Params, load_params

SPLITS = ("train", "test")


def main(dataset: str, split: str | None = None) -> str:
    """Decodes, resizes and embeds both splits, or the one that is named."""
    params = load_params()
    device = choose_device(params.runtime.device)
    if split not in (None, *SPLITS):
        raise ValueError(f"no split called {split!r}; there are: {', '.join(SPLITS)}")
    card = read_card(Path(f"data/cards/{dataset}.json"))
    index = read_index(dataset)
    splits = SPLITS if split is None else (split,)
    parts = {name: images_of_split(index, name, params, dataset) for name in splits}
    clip = load_clip(**params.model.model_dump(), device=device)
    for name, part in parts.items():
        made_by = provenance(
            dataset=dataset, dataset_sha256=card.sha256, split=name, data=params.data.model_dump(), seed=params.seed
        )
        clean = Path(f"data/clean/{dataset}/{name}")
        with replacing(clean / "images") as images, replacing(clean / "features.parquet") as features:
            write_images(images, decoded(part, card, clip, params), made_by)
            shards = progress(read_images(images), what=f"extract {name}", total=len(shard_paths(images)))
            embedded = (embed_shard(clip, shard, device=device, runtime=params.runtime) for shard in shards)
            write_bank(features, embedded, {**made_by, "model": clip.fingerprint})
    counts = " + ".join(str(count_images(Path(f"data/clean/{dataset}/{name}/images"))) for name in parts)
    return f"wrote data/clean/{dataset}, {counts} images of {clip.image_size} px"


def images_of_split(index: Index, split: str, params: Params, dataset: str) -> Index:
    """The images of a split that take part.

    Raises:
        ValueError: If the split is empty, or there are fewer images than asked for.
    """
    if split not in index.splits:
        raise ValueError(f"{dataset} has no {split} images; a data set to be judged alone goes under `test_only`")
    chosen = {"shots": params.data.shots, "test_images": params.data.test_images}
    return taking_part(index.part(split), **chosen, seed=params.seed)


def decoded(part: Index, card: Card, clip: Clip, params: Params) -> Iterator[Images]:
    """Yields shards of images, decoded and brought to the model's size; never holds more than one of them."""
    open_image = opener(card)

    def prepare(id: str) -> np.ndarray:
        return clip.fit(open_image(id))

    rows = params.data.shard_rows
    with ThreadPoolExecutor(params.runtime.workers_on("cpu")) as pool:
        for start in progress(range(0, len(part.ids), rows), what="decode", total=-(-len(part.ids) // rows)):
            ids = part.ids[start : start + rows]
            yield Images(ids, part.labels[start : start + rows], np.stack(list(pool.map(prepare, ids))))


def opener(card: Card) -> Callable[[str], Image.Image]:
    """How to open an image of a data set by its id."""
    raw = Path(f"data/raw/{card.name}")
    return open_rows(raw) if card.packed else open_files(raw)


if __name__ == "__main__":
    command(main)
