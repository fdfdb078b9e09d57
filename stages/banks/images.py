"""8-bit images with ids and labels, as a folder of Parquet shards of bounded size."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.banks.provenance import Provenance
from stages.banks.table import count_rows, read_provenance, read_table, write_table


@dataclass(frozen=True)
class Images:
    """Some images of one split.

    Attributes:
        ids: N names, stable over every run and stage.
        labels: Class indices (N,), int64.
        pixels: (N, H, W, 3), uint8.
    """

    ids: list[str]
    labels: np.ndarray
    pixels: np.ndarray

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8 and self.pixels.ndim == 4
        assert len(self.ids) == len(self.labels) == len(self.pixels)

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, count: int) -> list["Images"]:
        """Cuts into `count` parts of about the same size, in order."""
        return [self.take(part) for part in np.array_split(np.arange(len(self)), count)]

    def take(self, chosen: np.ndarray | slice) -> "Images":
        """The images at the given positions, or where a mask (N,) holds."""
        return Images(np.asarray(self.ids, object)[chosen].tolist(), self.labels[chosen], self.pixels[chosen])


def write_images(folder: Path, shards: Iterable[Images], provenance: Provenance) -> None:
    """Writes each shard as one file of `folder`; never holds more than one of them."""
    folder.mkdir(parents=True)
    for index, shard in enumerate(shards):
        _, *shape = shard.pixels.shape
        flat = pa.py_buffer(np.ascontiguousarray(shard.pixels))
        size = pa.binary(int(np.prod(shape)))
        columns = {
            "id": pa.array(shard.ids, pa.string()),
            "label": pa.array(shard.labels, pa.int64()),
            "image": pa.Array.from_buffers(size, len(shard), [None, flat]),
        }
        write_table(
            folder / f"{index:05d}.parquet", [pa.table(columns)], {**provenance, "shape": shape, "shard": index}
        )


def read_images(folder: Path) -> Iterator[Images]:
    """Yields the shards of a folder in order.

    Raises:
        ValueError: If a shard is missing, doubled, damaged, or made by another run than the first one.
    """
    first = images_provenance(folder)
    for index, path in enumerate(shard_paths(folder)):
        table, found = read_table(path)
        if found != {**first, "shard": index}:
            raise ValueError(f"{path}: shard {found['shard']} of another run, shard {index} of {folder} expected")
        pixels = np.concatenate([np.frombuffer(chunk.buffers()[1], np.uint8) for chunk in table["image"].chunks])
        yield Images(table["id"].to_pylist(), table["label"].to_numpy(), pixels.reshape(-1, *found["shape"]))


def read_all_images(folder: Path) -> Images:
    """Reads a folder of shards at once."""
    return joined(list(read_images(folder)))


def joined(shards: list[Images]) -> Images:
    """Puts shards together, in order."""
    return Images(
        [id for shard in shards for id in shard.ids],
        np.concatenate([shard.labels for shard in shards]),
        np.concatenate([shard.pixels for shard in shards]),
    )


def images_provenance(folder: Path) -> Provenance:
    """What made a folder of shards, read from its first one."""
    return read_provenance(shard_paths(folder)[0])


def count_images(folder: Path) -> int:
    """The number of images in a folder of shards, without reading them."""
    return sum(count_rows(path) for path in shard_paths(folder))


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder in order."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise ValueError(f"{folder}: no image shards there; `dvc repro` makes them")
    return paths
