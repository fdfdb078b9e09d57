"""extract: raw data set -> data/clean/<dataset>/{train,test}, 8-bit images at the model's size and their features."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.banks.bank import write_bank
from stages.banks.files import replacing
from stages.banks.images import Images, read_images, shard_paths, write_images
from stages.banks.provenance import provenance
from stages.banks.table import iterate_table, read_provenance
from stages.command import command, progress
from stages.datasets.card import read_card
from stages.datasets.embedded import images_of
from stages.datasets.fewshot import choose, few_shot
from stages.datasets.images import fit
from stages.embedding import embed_shard
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import Data, load_params


def main(dataset: str) -> str:
    """Decodes, resizes and embeds both splits."""
    params = load_params()
    device = choose_device(params.runtime.device)
    card = read_card(Path(f"data/cards/{dataset}.json"))
    clip = load_clip(**params.model.model_dump(), device=device)
    counts = {}
    for split in ("train", "test"):
        raw, clean = Path(f"data/raw/{dataset}/{split}.parquet"), Path(f"data/clean/{dataset}/{split}")
        chosen = chosen_ids(raw, split, params.data, classes=len(card.class_names), seed=params.seed)
        made_by = provenance(
            dataset=dataset, dataset_sha256=card.sha256, split=split, data=params.data.model_dump(), seed=params.seed
        )
        with replacing(clean / "images") as images, replacing(clean / "features.parquet") as features:
            write_images(images, decode(raw, chosen, clip.image_size, params.data.shard_rows), made_by)
            shards = progress(read_images(images), what=f"extract {split}", total=len(shard_paths(images)))
            parts = (embed_shard(clip, shard, device=device, runtime=params.runtime) for shard in shards)
            write_bank(features, parts, {**made_by, "model": clip.fingerprint})
        counts[split] = len(chosen)
    return f"wrote data/clean/{dataset}, {counts['train']} + {counts['test']} images of {clip.image_size} px"


def chosen_ids(raw: Path, split: str, data: Data, *, classes: int, seed: int) -> set[str]:
    """The images that take part: few shots of each class to tune on, some of the test images.

    Raises:
        ValueError: If a label is out of range, a class is missing from the training split, or has too few images.
    """
    rows = [
        (id, label)
        for part in iterate_table(raw)
        for id, label in zip(part["id"].to_pylist(), part["label"].to_pylist(), strict=True)
    ]
    ids, labels = [id for id, _ in rows], np.array([label for _, label in rows])
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{raw}: labels from {labels.min()} to {labels.max()}; {classes} classes allow 0 to {classes - 1}"
        )
    missing = set(range(classes)) - set(labels.tolist())
    if split == "train" and missing:
        raise ValueError(f"{raw}: no training image of the classes {sorted(missing)}")
    mask = np.ones(len(ids), bool)
    if split == "train" and data.shots != "all":
        mask = few_shot(ids, labels, data.shots, seed=seed)
    if split == "test" and data.test_images != "all":
        mask = choose(ids, data.test_images, seed=seed)
    return set(np.array(ids)[mask])


def decode(raw: Path, chosen: set[str], size: int, rows: int) -> Iterator[Images]:
    """Yields shards of `rows` chosen images, decoded and brought to the model's size."""
    shape = read_provenance(raw)["shape"]
    pending: list[tuple[str, int, np.ndarray]] = []
    for part in iterate_table(raw):
        for record in part.to_pylist():
            if record["id"] in chosen:
                grey = np.frombuffer(record["image"], np.uint8).reshape(1, *shape)
                pending.append((record["id"], record["label"], fit(images_of(grey)[0], size)))
            if len(pending) == rows:
                yield shard_of(pending)
                pending = []
    if pending:
        yield shard_of(pending)


def shard_of(rows: list[tuple[str, int, np.ndarray]]) -> Images:
    """Stacks rows of id, label, pixels."""
    ids, labels, pixels = zip(*rows, strict=True)
    return Images(list(ids), np.array(labels), np.stack(pixels))


if __name__ == "__main__":
    command(main)
