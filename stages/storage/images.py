"""8-bit images with ids and labels: a folder of Parquet shards of bounded size, and a manifest of what made them."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.storage.checksum import REMEDY
from stages.storage.files import remove, whole
from stages.storage.notes import read_note, write_note
from stages.storage.parquet import checksum_of, read_footer, read_table, write_table
from stages.storage.provenance import Provenance

Part = TypeVar("Part")
COLUMNS = (pa.field("id", pa.string()), pa.field("label", pa.int64()), pa.field("image", pa.binary(1)))  # H·W·3 bytes
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Images:
    """Some images of one split."""

    ids: list[str]  # N names, stable over every run and stage
    labels: np.ndarray  # class indices (N,), int64
    pixels: np.ndarray  # (N, H, W, 3), uint8

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8 and self.pixels.ndim == 4
        assert len(self.ids) == len(self.labels) == len(self.pixels)

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, count: int) -> list["Images"]:
        """Cut into `count` parts of about the same size, in order."""
        return [self.take(part) for part in np.array_split(np.arange(len(self)), count)]

    def take(self, chosen: np.ndarray | slice) -> "Images":
        """Return the images at the given positions, or where a mask (N,) holds."""
        return Images(np.asarray(self.ids, object)[chosen].tolist(), self.labels[chosen], self.pixels[chosen])


class Manifest(NamedTuple):
    """The file that makes a folder of shards complete: the checksum of each in order, and what made the images."""

    shards: list[str]
    provenance: Provenance  # and the `shape` of an image


class Written(NamedTuple):
    """Files that hold `images` rows together, in order; `kept` of them are from an interrupted run."""

    images: int
    paths: list[Path]
    kept: int

    def __str__(self) -> str:
        kept = f", {self.kept} of {len(self.paths)} shards from an interrupted run" if self.kept else ""
        return f"n = {self.images}{kept}"


def together(written: Sequence[Written]) -> Written:
    """Return what several calls have written of the same images."""
    return Written(written[0].images, [path for one in written for path in one.paths], sum(one.kept for one in written))


def write_missing(paths: Sequence[Path], parts: Iterable[Part], make: Callable[[Path, int, Part], None]) -> Written:
    """Write a Parquet file for each part, unless it exists: `make(path, index, part)` writes one of them."""
    images = kept = 0
    for index, (path, part) in enumerate(zip(paths, parts, strict=True)):
        if path.is_file():
            kept += 1
        else:
            with whole(path) as temporary:
                make(temporary, index, part)
        images += rows_of(path)
    return Written(images, list(paths), kept)


def rows_of(path: Path) -> int:
    """Return how many rows a Parquet file has, without reading them."""
    return pq.read_metadata(path).num_rows


def result_paths(folder: Path, source: Path, indices: Iterable[int]) -> list[Path]:
    """Return a file in `folder` for each shard of `source` with one of the indices, named by the shard's checksum.

    In a folder of `resuming` these names say all that decides about a result, if its key says the rest.
    """
    checksums = checksums_of(source)
    return [folder / f"{checksums[index]}.parquet" for index in indices]


def gather(paths: Iterable[Path], folder: Path, provenance: Provenance) -> None:
    """Make a folder of shards of finished files, which stay where they are, in this order."""
    remove(folder)
    for index, path in enumerate(paths):
        with whole(shard_path(folder, index)) as temporary:
            try:
                os.link(path, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, temporary)
    write_manifest(folder, provenance)


def write_images(folder: Path, shards: Iterable[Images], provenance: Provenance) -> None:
    """Write a folder of shards, without holding more than one of them."""
    for index, shard in enumerate(shards):
        with whole(shard_path(folder, index)) as temporary:
            write_shard(temporary, shard)
    write_manifest(folder, provenance)


def write_shard(path: Path, shard: Images, made_by: list[str] | None = None) -> None:
    """Write one shard: its rows, the shape of an image, and which attack made each image if that is known."""
    _, *shape = shard.pixels.shape
    flat = pa.py_buffer(np.ascontiguousarray(shard.pixels))
    columns = {
        "id": pa.array(shard.ids, pa.string()),
        "label": pa.array(shard.labels, pa.int64()),
        "image": pa.Array.from_buffers(pa.binary(int(np.prod(shape))), len(shard), [None, flat]),
    }
    if made_by is not None:
        columns["attack"] = pa.array(made_by, pa.string())
    write_table(path, [pa.table(columns)], {"shape": shape})


def write_manifest(folder: Path, provenance: Provenance) -> None:
    """Write the manifest of the shards in a folder, without which the folder is not complete."""
    checksums, about = zip(*map(read_footer, sorted(folder.glob("*.parquet"))), strict=True)
    with whole(folder / MANIFEST) as temporary:
        write_note(temporary, {"shards": checksums, "provenance": {**provenance, "shape": about[0]["shape"]}})


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder of shards; refuse a folder without shards, or with more or fewer than it states."""
    count = len(list(folder.glob("*.parquet")))
    if not count:
        raise ValueError(f"{folder}: no image shards there; `dvc repro` makes them")
    manifest = Manifest(**read_note(folder / MANIFEST))
    if count != len(manifest.shards):
        raise ValueError(f"{folder}: {count} shards there, {len(manifest.shards)} expected; run `dvc repro`")
    return manifest


def images_provenance(folder: Path) -> Provenance:
    """Return what made a folder of shards."""
    return read_manifest(folder).provenance


def checksums_of(folder: Path) -> list[str]:
    """Return the checksums of the shards of a folder, in order."""
    return read_manifest(folder).shards


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a folder, in order."""
    return [shard_path(folder, index) for index in range(len(checksums_of(folder)))]


def shard_path(folder: Path, index: int) -> Path:
    """Return the path of a shard, counted from 0."""
    return folder / f"{index:05d}.parquet"


def read_images(folder: Path) -> Iterator[Images]:
    """Yield the shards of a folder in order."""
    for index, checksum in enumerate(checksums_of(folder)):
        yield read_shard(shard_path(folder, index), checksum)


def read_all_images(folder: Path) -> Images:
    return joined([*read_images(folder)])


def joined(parts: Sequence[Images]) -> Images:
    """Return several groups of images as one, in order."""
    return Images(
        [id for part in parts for id in part.ids],
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.pixels for part in parts]),
    )


def read_shard(path: Path, checksum: str) -> Images:
    """Read one shard; refuse one that is damaged, or whose checksum is another one than that of the manifest."""
    if checksum_of(path) != checksum:
        raise ValueError(
            f"{path}: damaged or of another run, sha256 {checksum} expected by {MANIFEST} beside it; run `dvc repro`"
        )
    table, about = read_table(path, *COLUMNS)
    shape = about.get("shape", [])
    if table["image"].type.byte_width != np.prod(shape):
        raise ValueError(f"{path}: damaged, its images are not of shape {shape}; {REMEDY}")
    pixels = np.concatenate([np.frombuffer(chunk.buffers()[1], np.uint8) for chunk in table["image"].chunks])
    return Images(table["id"].to_pylist(), table["label"].to_numpy(), pixels.reshape(-1, *shape))


def read_ids(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the ids and the labels (N,) of a shard."""
    table, _ = read_table(path, *COLUMNS)
    return table["id"].to_pylist(), table["label"].to_numpy()


def read_attacks(path: Path) -> dict[str, str] | None:
    """Return which attack made each image of a shard, by its id; None where that was not written."""
    table, _ = read_table(path, *COLUMNS)
    if "attack" not in table.column_names:
        return None
    return dict(zip(table["id"].to_pylist(), table["attack"].to_pylist(), strict=True))
