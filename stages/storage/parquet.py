"""One Parquet file: lossless compression, page checksums, provenance in the schema, the file's seal in the footer."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.storage.checksum import BLANK, REMEDY, read_checksum, verify_checksum, write_checksum
from stages.storage.provenance import Provenance

KEY, SEAL = b"provenance", b"seal"
MARK = SEAL + b"\x18\x40"  # as Thrift writes the key, a string behind it, and its length
BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError)


def write_table(path: Path, parts: Iterable[pa.Table], provenance: Provenance) -> None:
    """Writes tables of one schema as the row groups of one file; never holds more than one of them."""
    note = json.dumps(provenance, sort_keys=True, ensure_ascii=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = iter(parts)
    first = next(parts).replace_schema_metadata({KEY: note})
    options = {"compression": "zstd", "write_page_checksum": True, "write_statistics": False}
    with pq.ParquetWriter(path, first.schema, **options) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part.replace_schema_metadata({KEY: note}))
        writer.add_key_value_metadata({SEAL: BLANK})
    seal(path)


def seal(path: Path) -> None:
    """Puts the digest of a Parquet file into its footer, where BLANK or an older one stands."""
    write_checksum(path, MARK)


def checksum_of(path: Path) -> str:
    """The digest of a Parquet file, as it says itself."""
    return read_checksum(path, MARK)


def check_table(path: Path) -> None:
    """Verifies the seal of a file.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    verify_checksum(path, MARK)


def read_table(path: Path, *columns: pa.Field, checked: bool = False) -> tuple[pa.Table, Provenance]:
    """Reads a whole file and verifies its seal and the checksum of every page.

    Args:
        path: The file.
        columns: Which it has to have, by name and type, with a value in every row.
        checked: Whether `check_table` has verified the seal already.

    Raises:
        ValueError: If the file is missing, damaged, or not one of this project's.
    """
    with opened(path, checked=checked) as file:
        table = file.read()
        about = provenance_of(table.schema, path)
    for column in columns:
        if column.name not in table.column_names or not same_kind(table.schema.field(column.name).type, column.type):
            raise ValueError(f"{path}: of another kind, no column {column.name} of {column.type}; {REMEDY}")
        if table[column.name].null_count:
            raise ValueError(f"{path}: damaged, column {column.name} has gaps; {REMEDY}")
    return table, about


def same_kind(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a column may stand for another; of two with values of fixed length, whatever the length."""
    if pa.types.is_fixed_size_list(expected):
        return pa.types.is_fixed_size_list(found) and found.value_type == expected.value_type
    if pa.types.is_fixed_size_binary(expected):
        return pa.types.is_fixed_size_binary(found)
    return found == expected


@contextmanager
def opened(path: Path, *, checked: bool = False) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file so that whatever is wrong with it is an error that names the file."""
    if not checked:
        check_table(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except BROKEN as error:  # not for its bits: memory or threads are short, or somebody has sealed another thing
        raise ValueError(f"{path}: as it was written, but cannot be read here ({error})") from error


def provenance_of(schema: pa.Schema, path: Path) -> Provenance:
    """Reads the provenance out of a schema."""
    if not schema.metadata or KEY not in schema.metadata:
        raise ValueError(f"{path}: no provenance inside, so it is no artefact of this project")
    return json.loads(schema.metadata[KEY])


def read_provenance(path: Path) -> Provenance:
    """Reads what made a file, without its rows."""
    with opened(path) as file:
        return provenance_of(file.schema_arrow, path)
