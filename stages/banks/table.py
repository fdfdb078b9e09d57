"""One Parquet file: lossless compression, page checksums, provenance in the schema."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.banks.provenance import Provenance

KEY = b"provenance"


def write_table(path: Path, parts: Iterable[pa.Table], provenance: Provenance) -> None:
    """Writes tables of one schema as the row groups of one file; never holds more than one of them."""
    note = json.dumps(provenance, sort_keys=True, ensure_ascii=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = iter(parts)
    first = next(parts).replace_schema_metadata({KEY: note})
    with pq.ParquetWriter(path, first.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part.replace_schema_metadata({KEY: note}))


def read_table(path: Path) -> tuple[pa.Table, Provenance]:
    """Reads a whole file and verifies the checksum of every page.

    Raises:
        ValueError: If the file is missing, damaged, or not one of this project's.
    """
    with opened(path) as file:
        table = file.read()
    return table, provenance_of(table.schema, path)


def iterate_table(path: Path) -> Iterator[pa.Table]:
    """Yields the row groups of a file, one at a time."""
    with opened(path) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index)


def count_rows(path: Path) -> int:
    """The number of rows of a file, without reading them."""
    with opened(path) as file:
        return file.metadata.num_rows


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file so that whatever is wrong with it is an error that names the file."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; `dvc repro` makes it")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged or no Parquet file ({error}); delete it and run `dvc repro`") from error


def provenance_of(schema: pa.Schema, path: Path) -> Provenance:
    """Reads the provenance out of a schema."""
    if not schema.metadata or KEY not in schema.metadata:
        raise ValueError(f"{path}: no provenance inside, so it is no artefact of this project")
    return json.loads(schema.metadata[KEY])


def read_provenance(path: Path) -> Provenance:
    """Reads what made a file, without its rows."""
    with opened(path) as file:
        return provenance_of(file.schema_arrow, path)
