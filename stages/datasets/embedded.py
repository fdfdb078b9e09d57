"""The embedded cuts of Fashion-MNIST: rows of 28x28 grey bytes in two Parquet files -> 32x32 RGB images."""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from stages.datasets.listing import Item, Listing, Source
from stages.storage.files import replacing

SIDE, PADDING = 28, 2  # pixels; the padding on each side
FOLDER = Path("data/embedded/fashion")
FILES = ("train.parquet", "test.parquet")
SHA256 = {
    "fashion": (
        "f5b75fa7d7d448ceb0e0c7c3a7c4b03c1c4b44980ce764fed9557a22000ae804",
        "8ca6421480b227a14d68c7e70bae48d9e8ecc585dbf70e04c6ff2b8b2828d72a",
    ),
    "fashion_second": (
        "fe0d465602f8f722cff6601b8d558aafbddce8d867a3856b19d35bc8630e6a59",
        "a8600b319702f56b923357a54691471c00fe3803c86d59c6a9c3b6f35902af93",
    ),
}


def copy_files(raw: Path, folder: Path) -> None:
    """Copy the two files of a cut after comparing their digests; the folder's name is the cut's."""
    for name, expected in zip(FILES, SHA256[folder.name], strict=True):
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: missing; it belongs to the repository (`git checkout {path}`)")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(f"{path}: damaged or another file (sha256 {found}, expected {expected})")
        with replacing(raw / name) as copy:
            shutil.copyfile(path, copy)


def list_rows(raw: Path) -> Listing:
    """Read ids, labels and class names of both files."""
    tables = [read_rows(raw / name) for name in FILES]
    train, test = (
        [Item(row["id"], row["label"]) for row in table.select(["id", "label"]).to_pylist()] for table in tables
    )
    class_names = json.loads(tables[0].schema.metadata[b"provenance"])["class_names"]
    first_to_last = ["-".join(str(int(items[end].id.split("/")[1])) for end in (0, -1)) for items in (train, test)]
    told = "training images {}, test images {} of the original files".format(*first_to_last)
    return Listing(class_names, train, test, splits=told)


def content_of(raw: Path) -> Callable[[str], bytes]:
    """Return a function that looks up the raw bytes of an image by its id; it holds all of them."""
    rows = [row for name in FILES for row in read_rows(raw / name).to_pylist()]
    return {row["id"]: row["image"] for row in rows}.__getitem__


def open_rows(raw: Path) -> Callable[[str], Image.Image]:
    """Return a function that opens an image by its id."""
    content = content_of(raw)
    return lambda id: Image.fromarray(images_of(np.frombuffer(content(id), np.uint8).reshape(1, SIDE, SIDE))[0])


def read_rows(path: Path) -> pa.Table:
    """Read one of the two files; a ValueError names one that is missing or damaged."""
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: missing or damaged ({error}); delete it and run `dvc repro`") from error


def images_of(grey: np.ndarray) -> np.ndarray:
    """Pad grey images (N, 28, 28), uint8, with black, the background of these images, to (N, 32, 32, 3), uint8."""
    sides = (PADDING, PADDING)
    return np.repeat(np.pad(grey, ((0, 0), sides, sides))[..., None], 3, axis=-1)


SOURCES = {
    name: Source(
        template="a photo of a {}.",
        origin="Fashion-MNIST (Zalando Research, 2017)",
        licence="Expat (MIT)",
        list_images=list_rows,
        download=partial(copy_files, folder=FOLDER.with_name(name)),
        packed=True,
    )
    for name in SHA256
}
