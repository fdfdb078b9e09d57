"""Damaged artefacts of all kinds through their readers: `python -m tests.fuzz.artefacts FOLDER COUNT`."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stages.storage.embeddings import Bank, read_bank, write_bank
from stages.storage.images import Images, read_images, write_images
from stages.storage.notes import read_note, write_note
from stages.storage.parquet import read_table, write_table
from stages.storage.prompts import PromptFile, load_prompts, save_prompts
from tests.fuzz.limits import case, limit_memory, refused, report
from tests.fuzz.mutations import mutated

MEMORY = 2**29  # bytes; the files have a few thousand
ABOUT = {"attack": {"eps": 8}, "dataset": "fashion", "note": "ü \" ' _"}


class Kind(NamedTuple):
    """One kind of file: its name in the figures, the file, and what reads it."""

    name: str
    file: str
    read: Callable[[Path], object]


KINDS = (
    Kind("tables", "rows.parquet", read_table),
    Kind("banks", "bank.parquet", read_bank),
    Kind("shards", "images/00000.parquet", lambda path: list(read_images(path.parent))),
    Kind("shards", "images/00001.parquet", lambda path: list(read_images(path.parent))),
    Kind("prompts", "prompts.safetensors", load_prompts),
    Kind("notes", "note.json", read_note),
)


def content_of(read: object) -> object:
    """What was read, in a form that compares by content."""
    match read:
        case np.ndarray():
            return read.tolist()
        case pa.Table():
            return read.to_pydict()
        case tuple() | list():
            return [content_of(part) for part in read]
        case Bank() | Images() | PromptFile():
            return content_of([getattr(read, field.name) for field in fields(read)])
        case _:
            return read


def write_whole(folder: Path) -> None:
    """One file of each kind, small, the Parquet files in several row groups or shards."""
    random = np.random.default_rng(0)
    ids, labels = [f"train/ä {index}" for index in range(9)], np.arange(9) % 3
    bank = Bank(ids, labels, random.normal(size=(9, 5)).astype(np.float32))
    write_bank(folder / "bank.parquet", [bank.take(labels == label) for label in range(3)], ABOUT)
    images = Images(ids, labels, random.integers(0, 256, (9, 6, 6, 3), np.uint8))
    write_images(folder / "images", images.split(2), ABOUT)
    threat = pa.array(["clean", "pgd_eps8", None] * 3)
    rows = pa.table({"id": ids, "threat": threat, "margin": random.normal(size=9), "right": labels > 0})
    write_table(folder / "rows.parquet", [rows, rows.slice(3)], ABOUT)
    features, context = random.normal(size=(2, 3, 4)), random.normal(size=(2, 5, 4))
    prompts = PromptFile(
        features.astype(np.float32), 10.5, ["a", 'b "ü"', "c_d"], "[5] {}.", ABOUT, context.astype(np.float32)
    )
    save_prompts(folder / "prompts.safetensors", prompts)
    write_note(folder / "note.json", ABOUT)


def main(folder: Path, count: int) -> None:
    """Tries so many damaged files, of all kinds alike: each is refused, or holds exactly what it held."""
    whole, damaged = folder / "whole", folder / "damaged"
    write_whole(whole)
    shutil.copytree(whole, damaged)
    others = [path.read_bytes() for path in sorted(whole.rglob("*.*"))]
    expected = {kind.file: content_of(kind.read(whole / kind.file)) for kind in KINDS}
    figures = Counter()
    limit_memory(MEMORY)
    for index in range(count):
        kind, read = KINDS[index % len(KINDS)], []
        path, content = damaged / kind.file, (whole / kind.file).read_bytes()
        path.write_bytes(mutated(content, Random(index), others))
        with case(f"{path}, number {index}"):
            error = refused(lambda kind=kind, path=path, read=read: read.append(content_of(kind.read(path))), path)
            assert error or read == [expected[kind.file]], "damaged, and read as something else"
        path.write_bytes(content)
        figures[f"{kind.name} tried"] += 1
        figures[f"{kind.name} {'refused' if error else 'unchanged'}"] += 1
    report(figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
