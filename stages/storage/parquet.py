"""One Parquet file: lossless compression, page checksums, provenance and a checksum of its content in the footer."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.storage.checksum import REMEDY, TableChecksum, canonical, reading, require_equal
from stages.storage.provenance import Provenance

PROVENANCE, CHECKSUM = b"provenance", b"sha256"  # keys of the footer


def write_table(path: Path, parts: Iterable[pa.Table], provenance: Provenance) -> None:
    """Write tables of one schema as the row groups of one file, without holding more than one of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = iter(parts)
    first = next(parts).replace_schema_metadata(None)
    options = {"compression": "zstd", "write_page_checksum": True, "write_statistics": False}
    with pq.ParquetWriter(path, first.schema, **options) as writer:
        writer.write_table(first)
        checksum = TableChecksum().update(first)
        for part in parts:
            writer.write_table(part.replace_schema_metadata(None))
            checksum.update(part)
        about = {PROVENANCE: canonical(provenance), CHECKSUM: checksum.hexdigest(provenance)}
        writer.add_key_value_metadata(about)


def read_table(path: Path, *columns: pa.Field) -> tuple[pa.Table, Provenance]:
    """Read a whole file and compare it with its checksum and those of its pages.

    Args:
        path: The file.
        columns: Which it has to have, by name and type (of values of one length, whatever the length), without gaps.

    Raises:
        ValueError: If the file is missing, damaged, or not one of this project's.
    """
    with opened(path) as file:
        table = file.read()
        stated, provenance = stated_in(file)
        found = TableChecksum().update(table).hexdigest(provenance)
    require_equal(path, found, stated)
    for column in columns:
        if column.name not in table.column_names or not same_kind(table.schema.field(column.name).type, column.type):
            raise ValueError(f"{path}: of another kind, no column {column.name} of {column.type}; {REMEDY}")
        if table[column.name].null_count:
            raise ValueError(f"{path}: damaged, column {column.name} has gaps; {REMEDY}")
    return table, provenance


def same_kind(found: pa.DataType, expected: pa.DataType) -> bool:
    """Return whether a column may stand for another; of two with values of fixed length, whatever the length."""
    if pa.types.is_fixed_size_list(expected):
        return pa.types.is_fixed_size_list(found) and found.value_type == expected.value_type
    if pa.types.is_fixed_size_binary(expected):
        return pa.types.is_fixed_size_binary(found)
    return found == expected


def checksum_of(path: Path) -> str:
    """Return the checksum that a file states; whoever reads the file compares it."""
    return read_footer(path)[0]


def read_footer(path: Path) -> tuple[str, Provenance]:
    """Return the checksum and the provenance that a file states, without reading its rows."""
    with opened(path) as file:
        return stated_in(file)


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file so that whatever is wrong with it is an error that names the file."""
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield file


def stated_in(file: pq.ParquetFile) -> tuple[str, Provenance]:
    """Return the checksum and the provenance in the footer of a file."""
    footer = file.metadata.metadata or {}
    if CHECKSUM not in footer or PROVENANCE not in footer:
        raise ValueError("it has no sha256 and no provenance, so it is no artefact of this project")
    return footer[CHECKSUM].decode(), json.loads(footer[PROVENANCE])
