"""Checksums of what a file holds: its values, names and provenance, however its format lays them out."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from safetensors import SafetensorError

from stages.storage.memory import is_out_of_memory

REMEDY = "delete it and run `dvc repro`"
# what readers raise for damaged files; no MemoryError
BROKEN = (pa.ArrowException, SafetensorError, OSError, ValueError, OverflowError, LookupError, TypeError,
          AttributeError, RecursionError)  # fmt: skip


def canonical(value: Any) -> str:
    """Return a value as JSON, the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def checksum_of_json(value: Any) -> str:
    """Return the sha256 of a value that JSON can hold."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def checksum_of_arrays(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> str:
    """Return the sha256 of named arrays with their types and shapes, and of what is said about them."""
    facts = [
        [name, array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()]
        for name, array in sorted(arrays.items())
    ]
    return checksum_of_json([facts, about])


class TableChecksum:
    """The sha256 of a table that comes in parts; it does not depend on where the parts end."""

    def __init__(self) -> None:
        self._schema: list[tuple[str, str]] = []
        self._digests: dict[tuple[str, ...], Any] = defaultdict(hashlib.sha256)

    def update(self, table: pa.Table) -> "TableChecksum":
        """Add the rows of a part."""
        self._schema = [(field.name, name_of(field.type)) for field in table.schema]
        for number, column in enumerate(table.columns):
            for chunk in column.chunks:
                for kind, content in buffers_of(chunk):
                    self._digests[str(number), *kind].update(content)
        return self

    def hexdigest(self, about: dict[str, Any]) -> str:
        """Return the sha256 of the schema, all rows, and the provenance."""
        rows = sorted([*key, digest.hexdigest()] for key, digest in self._digests.items())
        return checksum_of_json([self._schema, rows, about])


def name_of(kind: pa.DataType) -> str:
    """Return the name of a type without the names inside lists, which Parquet may change."""
    return f"{kind.value_type}[{kind.list_size}]" if kinds.is_fixed_size_list(kind) else str(kind)


def buffers_of(array: pa.Array, *inside: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the bytes of an array, without padding, each with a name: where it has values, their lengths, the values.

    It may hold numbers, flags, text, bytes of one length, or lists of one length of these.
    """
    if kinds.is_boolean(array.type):
        array = array.cast(pa.uint8())
    yield (*inside, "valid"), array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False)
    array = array.drop_null() if array.null_count else array
    start, stop = array.offset, array.offset + len(array)
    if not len(array):
        return
    if kinds.is_fixed_size_list(array.type):
        yield from buffers_of(array.flatten(), *inside, "list")
    elif kinds.is_string(array.type):
        offsets = np.frombuffer(array.buffers()[1], np.int32)[start : stop + 1]
        yield (*inside, "lengths"), np.diff(offsets).astype(np.int64)
        yield (*inside, "values"), memoryview(array.buffers()[2] or b"")[offsets[0] : offsets[-1]]
    else:
        if not (kinds.is_primitive(array.type) or kinds.is_fixed_size_binary(array.type)):
            raise ValueError(f"there is no checksum for columns of {array.type}")
        width = array.type.bit_width // 8
        yield (*inside, "values"), memoryview(array.buffers()[1])[start * width : stop * width]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with a file that is read inside into a ValueError that names it."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; `dvc repro` makes it")
    if not path.stat().st_size:
        raise ValueError(f"{path}: damaged, it is empty; {REMEDY}")
    try:
        yield
    except BROKEN as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{path}: damaged, or of another kind ({error!r}); {REMEDY}") from error


def require_equal(path: Path, found: str, stated: object) -> None:
    """Refuse a file whose content is not what its checksum states."""
    if found != stated:
        raise ValueError(f"{path}: damaged, the sha256 of its content is {found}, but {stated!r} is expected; {REMEDY}")
