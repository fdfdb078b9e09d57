"""8-bit images with ids and labels, as a folder of Parquet shards of bounded size."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.storage.checksum import REMEDY
from stages.storage.files import whole
from stages.storage.notes import read_note, write_note
from stages.storage.parquet import checksum_of, read_table, write_table
from stages.storage.provenance import Provenance

Part = TypeVar("Part")
COLUMNS = (pa.field("id", pa.string()), pa.field("label", pa.int64()), pa.field("image", pa.binary(1)))  # H·W·3 bytes
COUNT = "shards.json"  # beside the shards, so that a lost one is missed


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


class Written(NamedTuple):
    """How many images were stored, in how many pieces, and how many of these lay there already."""

    images: int
    pieces: int
    kept: int

    def __str__(self) -> str:
        kept = f", {self.kept} of {self.pieces} shards from an interrupted run" if self.kept else ""
        return f"n = {self.images}{kept}"


def write_images(
    folder: Path, parts: Iterable[Part], provenance: Provenance, *, work: Callable[[Part], Images] = lambda part: part
) -> Written:
    """Writes a shard for each part as one file of `folder`; never holds more than one of them.

    Args:
        folder: Where an interrupted run may have left shards, each of them whole: these are not made again.
        parts: What the shards are made of, in order.
        provenance: What made them.
        work: Makes the shard of a part.
    """

    def make(path: Path, index: int, part: Part) -> None:
        write_shard(path, work(part), {**provenance, "shard": index})

    written = write_pieces(folder, parts, make)
    note_count(folder, written.pieces)
    return written


def note_count(folder: Path, shards: int) -> None:
    """Notes beside the shards of a folder how many there are; without it the folder is not complete."""
    with whole(folder / COUNT) as temporary:
        write_note(temporary, {"shards": shards})


def write_pieces(folder: Path, parts: Iterable[Part], make: Callable[[Path, int, Part], None]) -> Written:
    """Makes a Parquet file in `folder` for each part, in order, but for those that are there already."""
    images = pieces = kept = 0
    for index, part in enumerate(parts):
        path = piece_path(folder, index)
        if path.is_file():
            kept += 1
        else:
            with whole(path) as temporary:
                make(temporary, index, part)
        images, pieces = images + rows_of(path), pieces + 1
    return Written(images, pieces, kept)


def piece_path(folder: Path, index: int) -> Path:
    """Where a file of a folder lies, counted from 0."""
    return folder / f"{index:05d}.parquet"


def rows_of(path: Path) -> int:
    """How many rows a Parquet file has, without reading them."""
    return pq.read_metadata(path).num_rows


def write_shard(path: Path, shard: Images, provenance: Provenance) -> None:
    """Writes one shard."""
    _, *shape = shard.pixels.shape
    flat = pa.py_buffer(np.ascontiguousarray(shard.pixels))
    columns = {
        "id": pa.array(shard.ids, pa.string()),
        "label": pa.array(shard.labels, pa.int64()),
        "image": pa.Array.from_buffers(pa.binary(int(np.prod(shape))), len(shard), [None, flat]),
    }
    write_table(path, [pa.table(columns)], {**provenance, "shape": shape})


def read_images(folder: Path) -> Iterator[Images]:
    """Yield the shards of a folder in order.

    Raises:
        ValueError: If a shard is missing, doubled, damaged, or made by another run than the first one.
    """
    first: Provenance = {}
    for index, path in enumerate(shard_paths(folder)):
        table, found = read_table(path, *COLUMNS)
        first = first or found
        require_shard(found, path, index, first)
        yield images_of(table, found.get("shape", []), path)


def read_shard(path: Path, index: int, first: Provenance) -> Images:
    """Reads one shard, the one of this index of the folder whose first one `first` has made.

    Raises:
        ValueError: If it is damaged, or made by another run.
    """
    table, found = read_table(path, *COLUMNS)
    require_shard(found, path, index, first)
    return images_of(table, found.get("shape", []), path)


def read_column(path: Path, name: str) -> pa.ChunkedArray:
    """One column of a shard, `id` or `label`, without its images.

    Raises:
        ValueError: If it is damaged, or no shard of images.
    """
    return read_table(path, *COLUMNS)[0][name]


def require_shard(found: Provenance, path: Path, index: int, first: Provenance) -> None:
    """Refuses a shard that is another one's, or of another run than the first."""
    if found != {**first, "shard": index}:
        stranger = f"shard {found.get('shard')} of another run"
        raise ValueError(f"{path}: {stranger}, shard {index} of that of {piece_path(path.parent, 0)} expected")


def images_of(table: pa.Table, shape: list[int], path: Path) -> Images:
    """The images of a table with the right columns.

    Raises:
        ValueError: If they have another shape than the file says.
    """
    if table["image"].type.byte_width != np.prod(shape):
        raise ValueError(f"{path}: damaged, its images are not of shape {shape}; {REMEDY}")
    pixels = np.concatenate([np.frombuffer(chunk.buffers()[1], np.uint8) for chunk in table["image"].chunks])
    return Images(table["id"].to_pylist(), table["label"].to_numpy(), pixels.reshape(-1, *shape))


def read_all_images(folder: Path) -> Images:
    """Reads a folder of shards at once."""
    shards = list(read_images(folder))
    return Images(
        [id for shard in shards for id in shard.ids],
        np.concatenate([shard.labels for shard in shards]),
        np.concatenate([shard.pixels for shard in shards]),
    )


def images_provenance(folder: Path) -> Provenance:
    """What made a folder of shards, read from its first one."""
    return read_table(shard_paths(folder)[0])[1]


def checksums_of(folder: Path) -> list[str]:
    """The digests of the shards of a folder, as they say themselves."""
    return [checksum_of(path) for path in shard_paths(folder)]


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder in order."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise ValueError(f"{folder}: no image shards there; `dvc repro` makes them")
    expected = read_note(folder / COUNT)["shards"]
    if len(paths) != expected:
        raise ValueError(f"{folder}: {len(paths)} shards there, {expected} expected; run `dvc repro`")
    return paths
