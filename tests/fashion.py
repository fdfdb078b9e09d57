"""The embedded Fashion-MNIST."""

import json

import numpy as np

from stages.datasets.embedded import FOLDER, images_of, read_rows
from stages.storage.images import Images
from tests.imports import ROOT


def fashion(split: str, count: int | None = None) -> tuple[Images, list[str]]:
    """Return the first images of a split, 32 px, and the names of all classes."""
    table = read_rows(ROOT / FOLDER / f"{split}.parquet").slice(0, count)
    grey = np.stack([np.frombuffer(image, np.uint8).reshape(28, 28) for image in table["image"].to_pylist()])
    class_names = json.loads(table.schema.metadata[b"provenance"])["class_names"]
    return Images(table["id"].to_pylist(), table["label"].to_numpy(), images_of(grey)), class_names
