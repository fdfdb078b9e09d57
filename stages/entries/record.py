"""Read and write the parts of an entry: `entry.json`, the outcome of each image, and the files with their digests."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError as SchemaError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from stages.crafting.suite import VERSION
from stages.report.statistics import DIGITS, wilson
from stages.storage.memory import is_out_of_memory
from stages.storage.parquet import checksum_of, opened, read_table, write_table

ENTRY, OUTCOMES, PROMPTS = "entry.json", "outcomes.parquet", "prompts.safetensors"
FORMAT = 1  # of entry.json
SCHEMA = Path(__file__).parent / "entry.schema.json"
ENTRIES = Path("entries")  # folder of the committed entries
LARGEST = 1_000_000  # bytes of entry.json
LONGEST = 1000  # characters of a message, in which names and values of a stranger stand
WITHSTOOD, CLEAN = "", "clean"  # in `fell_to`; any other value is the name of a threat
COLUMNS = (
    pa.field("id", pa.string()),
    pa.field("label", pa.int64()),
    pa.field("eps", pa.float64()),
    pa.field("fell_to", pa.string()),
)
REMEDY = "pack the entry again, or ask its author"
Record = dict[str, Any]


class UncheckedError(ValueError):
    """Say that something is missing here without which an entry can neither be confirmed nor refused."""


@contextmanager
def needed_here() -> Iterator[None]:
    """Turn an error about what is no part of an entry, such as its model, into `UncheckedError`."""
    try:
        yield
    except ValueError as error:
        raise UncheckedError(f"cannot be checked here: {error}") from error


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while an entry is read inside into a ValueError, without advice about the pipeline.

    Raises:
        ValueError: If the entry is bad.
        UncheckedError: If it cannot be checked here.
    """
    try:
        yield
    except UncheckedError as error:
        raise UncheckedError(shortened(str(error))) from error
    except ValueError as error:
        raise ValueError(shortened(re.sub("; [^;]*`dvc repro`.*", f"; {REMEDY}", str(error)))) from error
    except Exception as error:  # the files of a stranger can be wrong in more ways than anyone foresees
        if is_out_of_memory(error):
            raise UncheckedError(f"cannot be checked here: out of memory ({error})") from error
        raise ValueError(f"{path}: could not be read: {shortened(repr(error))}; {REMEDY}") from error


def shortened(message: str) -> str:
    """Return a message without the middle of it if it is long."""
    half = LONGEST // 2
    return message if len(message) <= LONGEST else f"{message[:half]} [...] {message[-half:]}"


@cache
def validator() -> Any:
    """Return what checks a record against the schema, in which 3.0 is no integer, and `$` not before a line's end."""
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    kind = extend(Draft202012Validator, {"pattern": whole_pattern}, type_checker=types)
    return kind(schema, format_checker=FormatChecker(["date"]))


def whole_pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[SchemaError]:
    """Yield a fault unless the whole of a text matches; Python's `$` also matches in front of a last line break."""
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield SchemaError(f"{value!r} does not match {pattern!r}")


def read_entry(folder: Path) -> Record:
    """Read the record of an entry and compare the digests of all of its files.

    Raises:
        ValueError: If a file is missing, is one too many or has another digest; or see `read_record`.
    """
    record = read_record(folder)
    check_files(folder, record["files"])
    return record


def read_record(folder: Path) -> Record:
    """Read the record of an entry.

    Raises:
        ValueError: If it is missing, is no JSON, or does not fit the schema.
        UncheckedError: If a newer version of this project made it: its format or its suite does not exist here.
    """
    path = folder / ENTRY
    if not path.is_file() or path.is_symlink():
        raise ValueError(f"{path}: missing; an entry is a folder that `python -m stages.submit` has written")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; at most {LARGEST} are allowed")
    try:
        record = json.loads(path.read_bytes(), parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
        json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair, which no file can hold
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no valid JSON ({error}); {REMEDY}") from error
    require_known(path, record, "format", FORMAT)
    if (fault := best_match(validator().iter_errors(record))) is not None:
        raise ValueError(f"{path}: {fault.json_path}: {fault.message[:300]}; see {SCHEMA.name}")
    require_known(path, record, "suite", VERSION)
    return record


def require_known(path: Path, record: Any, key: str, newest: int) -> None:
    """Refuse to check a record whose version of the format or of the suite is newer than the newest one here."""
    stated = record.get(key) if isinstance(record, dict) else None
    if type(stated) is int and stated > newest:
        raise UncheckedError(
            f"cannot be checked here: {path}: {key} {stated}; the newest one here is {newest}: update the project"
        )


def refuse_constant(name: str) -> None:
    """Refuse what Python reads but JSON does not have: NaN and infinities."""
    raise ValueError(f"{name} is no number")


def refuse_duplicates(pairs: list[tuple[str, Any]]) -> Record:
    """Refuse a key that stands twice in one object, of which Python would keep the last one."""
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return record


def parts_of_name(model: Record) -> list[str]:
    """Return a model's name, its tag or file of weights, and the file of its image tower, without folders."""
    parts = model["name"].removeprefix("local-dir:"), model["pretrained"], model.get("visual_weights")
    return [part.rstrip("/").rpartition("/")[2] for part in parts if part]


def check_files(folder: Path, stated: dict[str, str]) -> None:
    """Refuse an entry whose files are not those that its record states."""
    found = digests_of(folder)
    for name in sorted(stated.keys() | found.keys()):
        if name not in found:
            raise ValueError(f"{folder / name}: missing, though {ENTRY} states it; the entry is incomplete")
        if name not in stated:
            raise ValueError(f"{folder / name}: {ENTRY} does not state this file; remove it")
        if found[name] != stated[name]:
            raise ValueError(
                f"{folder / name}: damaged or changed, its sha256 is {found[name]}, {stated[name]} is stated"
            )


def digests_of(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of an entry but the record; refuse links, which could lead anywhere."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path}: no regular file; an entry has files and folders only")
        if path.is_file() and name != ENTRY:
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def write_record(folder: Path, record: Record) -> None:
    """Complete a record by the digests of what is in the folder, and write it.

    Raises:
        ValueError: If it does not fit the schema.
    """
    outcomes = checksum_of(folder / OUTCOMES)
    record = {**record, "outcomes_sha256": outcomes, "files": digests_of(folder)}
    if (fault := best_match(validator().iter_errors(record))) is not None:
        raise ValueError(f"no entry can be made: {fault.json_path}: {fault.message[:300]}")
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / ENTRY).write_text(text + "\n", encoding="utf-8")


def write_outcomes(folder: Path, outcomes: pd.DataFrame) -> None:
    """Write the outcome of each image at each eps: id, label, eps, fell_to."""
    table = pa.Table.from_pandas(outcomes[[field.name for field in COLUMNS]], pa.schema(COLUMNS), preserve_index=False)
    write_table(folder / OUTCOMES, [table], {})


def read_outcomes(folder: Path, record: Record) -> pd.DataFrame:
    """Read the outcomes; refuse those of other eps, of an image twice, or of a threat that the record does not have."""
    path = folder / OUTCOMES
    require_rows(path, COLUMNS, record["data"]["n"] * len(record["results"]))
    table, _ = read_table(path, *COLUMNS)
    if checksum_of(path) != record["outcomes_sha256"]:
        raise ValueError(f"{path}: its rows are not those whose digest {ENTRY} states")
    outcomes = table.to_pandas()
    threats = {result["eps"]: {WITHSTOOD, CLEAN, *result["threats"]} for result in record["results"]}
    if len(threats) != len(record["results"]):
        raise ValueError(f"{folder / ENTRY}: two results of one eps")
    for eps, rows in outcomes.groupby("eps"):
        unknown = set(rows["fell_to"]) - threats.get(eps, set())
        if unknown:
            raise ValueError(f"{path}: eps {eps:g}: {ENTRY} has no threat {min(unknown)!r}")
    for eps in threats:
        ids = outcomes.loc[outcomes["eps"] == eps, "id"]
        if ids.duplicated().any():
            raise ValueError(f"{path}: eps {eps:g}: image {ids[ids.duplicated()].iloc[0]!r} is there twice")
        if len(ids) != record["data"]["n"]:
            raise ValueError(f"{path}: eps {eps:g}: {len(ids)} images, n = {record['data']['n']} is stated")
    return outcomes


def require_rows(path: Path, columns: Sequence[pa.Field], most: int) -> int:
    """Return the number of rows of a table; refuse other columns and too many rows: a small file can hold billions."""
    with opened(path) as file:
        found, rows = file.schema_arrow, file.metadata.num_rows
    if not found.equals(pa.schema(columns)):
        about = [f"{field.name} of {field.type}" for field in found]
        raise ValueError(
            f"{path}: columns {about}; {[f'{field.name} of {field.type}' for field in columns]} are needed"
        )
    if rows > most:
        raise ValueError(f"{path}: {rows} rows; {ENTRY} allows at most {most}")
    return rows


def accuracies_of(fell_to: pd.Series, strongest_oblivious: str | None) -> Record:
    """Return the accuracies of one eps, with their 95 % Wilson intervals, from what each image fell to.

    An image that fell to the strongest oblivious threat counts as fallen to the adaptive attacker, too.
    """
    clean, withstood = fell_to != CLEAN, fell_to == WITHSTOOD
    oblivious = clean & (fell_to != strongest_oblivious) if strongest_oblivious else None
    return {
        "clean": share(clean),
        "oblivious": None if oblivious is None else share(oblivious),
        "adaptive": share(withstood),
    }


def share(right: pd.Series) -> dict[str, float]:
    """Return the share of images that are right, and its interval."""
    accuracy = float(np.mean(right))
    low, high = wilson(accuracy, len(right))
    return {"accuracy": round(accuracy, DIGITS), "low": round(float(low), DIGITS), "high": round(float(high), DIGITS)}
