"""Damaged tables, banks, shards and prompts through their readers: `python -m tests.fuzz.artefacts FOLDER COUNT`."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stages.storage import parquet, tensors
from stages.storage.checksum import write_checksum
from stages.storage.embeddings import Bank, read_bank, write_bank
from stages.storage.images import Images, read_images, write_images
from stages.storage.parquet import read_table, write_table
from stages.storage.prompts import PromptFile, load_prompts, save_prompts
from tests.fuzz.limits import case, limit_memory, refused, report
from tests.fuzz.mutations import mutated

MEMORY = 2**29  # bytes; the files have a few thousand
ABOUT = {"attack": {"eps": 8}, "dataset": "fashion", "note": "ü \" ' _"}


class Kind(NamedTuple):
    """One kind of file: its name in the figures, the file, what reads it, and what stands in front of its seal."""

    name: str
    file: str
    read: Callable[[Path], object]
    mark: bytes = parquet.MARK


KINDS = (
    Kind("tables", "rows.parquet", read_table),
    Kind("banks", "bank.parquet", read_bank),
    Kind("shards", "images/00000.parquet", lambda path: list(read_images(path.parent))),
    Kind("shards", "images/00001.parquet", lambda path: list(read_images(path.parent))),
    Kind("prompts", "prompts.safetensors", load_prompts, tensors.MARK),
)


def write_whole(folder: Path) -> None:
    """One file of each kind, small, the Parquet files in several row groups or shards."""
    random = np.random.default_rng(0)
    ids, labels = [f"train/ä {index}" for index in range(9)], np.arange(9) % 3
    bank = Bank(ids, labels, random.normal(size=(9, 5)).astype(np.float32))
    write_bank(folder / "bank.parquet", [bank.take(labels == label) for label in range(3)], ABOUT)
    images = Images(ids, labels, random.integers(0, 256, (9, 6, 6, 3), np.uint8))
    write_images(folder / "images", images.split(2), ABOUT)
    threat = pa.array(["clean", "pgd_eps8", None] * 3).dictionary_encode()
    rows = pa.table({"id": ids, "threat": threat, "margin": random.normal(size=9), "right": labels > 0})
    write_table(folder / "rows.parquet", [rows, rows.slice(3)], ABOUT)
    features, context = random.normal(size=(2, 3, 4)), random.normal(size=(2, 5, 4))
    prompts = PromptFile(
        features.astype(np.float32), 10.5, ["a", 'b "ü"', "c_d"], "[5] {}.", ABOUT, context.astype(np.float32)
    )
    save_prompts(folder / "prompts.safetensors", prompts)


def main(folder: Path, count: int) -> None:
    """Tries so many damaged files, of all kinds alike; one in four is sealed again, as if it had been written so."""
    whole, damaged = folder / "whole", folder / "damaged"
    write_whole(whole)
    shutil.copytree(whole, damaged)
    others = [path.read_bytes() for path in sorted(whole.rglob("*.*"))]
    figures = Counter()
    limit_memory(MEMORY)
    for index in range(count):
        kind, random = KINDS[index % len(KINDS)], Random(index)
        path, content = damaged / kind.file, (whole / kind.file).read_bytes()
        sealed = random.random() < 0.25
        damage = misspelt if sealed and random.random() < 0.25 else mutated
        path.write_bytes(damage(content, random, others))
        with case(f"{path}, number {index}, sealed again: {sealed}"):
            error = refused(lambda kind=kind, path=path, sealed=sealed: read(kind, path, sealed=sealed), path)
            assert error or sealed, "damaged, and read without an error"
        path.write_bytes(content)
        name = f"sealed {kind.name}" if sealed else kind.name
        figures[f"{name} tried"] += 1
        figures[f"{name} {'refused' if error else 'read'}"] += 1
    report(figures)


def misspelt(content: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Changes one letter of what the file says of itself."""
    changed, start = bytearray(content), content.index(b"fashion")
    changed[start + random.randrange(-30, 30)] ^= 1 << random.randrange(8)
    return bytes(changed)


def read(kind: Kind, path: Path, *, sealed: bool) -> object:
    """Reads a file, sealed again if there is still a place for the seal."""
    if sealed:
        write_checksum(path, kind.mark)
    return kind.read(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
