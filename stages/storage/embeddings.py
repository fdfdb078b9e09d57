"""Raw image embeddings in one Parquet file: one per image, of attacked training images the paper's bank; or several."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.storage.parquet import read_table, write_table
from stages.storage.provenance import Provenance

COLUMNS = (
    pa.field("id", pa.string()),
    pa.field("label", pa.int64()),
    pa.field("embedding", pa.list_(pa.float32(), 1)),  # D of them
)


@dataclass(frozen=True)
class Bank:
    """Embeddings of clean or attacked images of one split."""

    ids: list[str]  # N names, those of the images
    labels: np.ndarray  # class indices (N,), int64
    embeddings: np.ndarray  # raw image features (N, D), float32, not normalised

    def __post_init__(self) -> None:
        assert self.embeddings.dtype == np.float32 and self.embeddings.ndim == 2
        assert len(self.ids) == len(self.labels) == len(self.embeddings)

    def take(self, mask: np.ndarray) -> "Bank":
        """Return the embeddings where a mask (N,) holds."""
        ids = [id for id, kept in zip(self.ids, mask, strict=True) if kept]
        return Bank(ids, self.labels[mask], self.embeddings[mask])


def write_bank(path: Path, parts: Iterable[Bank], provenance: Provenance) -> None:
    """Write the parts of a bank, one at a time, as the row groups of one file."""
    write_table(path, (table_of(part) for part in parts), provenance)


def read_bank(path: Path) -> tuple[Bank, Provenance]:
    """Read a bank into one block of memory; refuse a file that is missing or damaged, and one that holds NaN or inf."""
    table, provenance = read_table(path, *COLUMNS)
    embedding = table["embedding"].combine_chunks()
    embeddings = embedding.flatten().to_numpy().reshape(len(table), embedding.type.list_size)
    if not np.isfinite(embeddings).all():
        raise ValueError(f"{path}: an embedding holds NaN or inf; check the model's weights")
    return Bank(table["id"].to_pylist(), table["label"].to_numpy(), embeddings), provenance


def round_table(bank: Bank, *, round_index: int, seed: int | None, eps: np.ndarray) -> pa.Table:
    """Return the N embeddings of one round of a refreshed bank as an Arrow table, with three more columns.

    Args:
        bank: N embeddings.
        round_index: Which round, from 1; the column `round`.
        seed: The tuning seed whose classifier was attacked; None if all seeds share it.
        eps: Radius of each attack (N,), in 1/255 of the pixel range.
    """
    count = len(bank.ids)
    table = table_of(bank).append_column("round", pa.repeat(round_index, count))
    table = table.append_column("seed", pa.array([seed] * count, pa.int64()))
    return table.append_column("eps", pa.array(eps, pa.float64()))


def table_of(bank: Bank) -> pa.Table:
    flat, width = bank.embeddings.reshape(-1), bank.embeddings.shape[1]
    embeddings = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table(
        {"id": pa.array(bank.ids, pa.string()), "label": pa.array(bank.labels, pa.int64()), "embedding": embeddings}
    )
