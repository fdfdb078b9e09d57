"""The index of a data set on disk: data/index/<dataset>.parquet."""

from pathlib import Path

import pyarrow as pa

from stages.datasets.index import Index
from stages.storage.parquet import read_table, write_table
from stages.storage.provenance import with_versions


def path_of_index(dataset: str) -> Path:
    """Where the index of a data set lies."""
    return Path(f"data/index/{dataset}.parquet")


def write_index(path: Path, index: Index, *, dataset: str) -> None:
    """Writes an index as one Parquet file."""
    columns = {
        "id": pa.array(index.ids, pa.string()),
        "split": pa.array(index.splits, pa.string()),
        "label": pa.array(index.labels, pa.int64()),
        "sha256": pa.array(index.digests, pa.binary(32)),
    }
    write_table(path, [pa.table(columns)], with_versions(dataset=dataset))


def read_index(dataset: str) -> Index:
    """Reads the index of a data set.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    table, _ = read_table(path_of_index(dataset))
    return Index(
        table["id"].to_pylist(), table["split"].to_pylist(), table["label"].to_numpy(), table["sha256"].to_pylist()
    )
