"""Splits of a published data set, official or CoOp's, checked against the images that are there."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from stages.datasets.annotations import read_json
from stages.datasets.listing import Item, Listing
from stages.datasets.places import by_composed, images_in
from stages.storage.card import composed
from stages.storage.ranking import ranking

COOP_PAGE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
HELD_OUT = 0.3  # of each class is judged: the share of CoOp's own test lists
HELD_OUT_TOLD = f"{HELD_OUT:.0%} of each class held out, by digest of the path; without CoOp's split file"


@dataclass(frozen=True)
class Split:
    """One split, and the file that lists it, for error messages."""

    file: Path
    entries: list[tuple[str, int]]  # path below the folder of images, in any Unicode form, and label


class Splits(NamedTuple):
    """The lists of a data set: K class names, where the splits come from, and the splits."""

    class_names: list[str]
    told: str
    train: Split
    test: Split


def listing_of(raw: Path, images: Path, splits: Splits) -> Listing:
    """Make a listing, with the paths below `raw` as they are on disk as ids.

    Raises:
        ValueError: If an image is missing, outside `images` or listed twice, or a class is unknown or has no image;
            the message names the list and the entry.
    """
    class_names, told, train, test = splits
    paths = [on_disk(images, split) for split in (train, test)]
    items = []
    for split, real in zip((train, test), paths, strict=True):
        check_labels(class_names, split)
        ids = [(images.relative_to(raw) / path).as_posix() for path in real]
        items.append([Item(id, label) for id, (_, label) in zip(ids, split.entries, strict=True)])
    doubled, count = Counter(item.id for item in items[0] + items[1]).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{train.file}, {test.file}: {doubled!r} is listed {count} times; each image may be once")
    return Listing(class_names, items[0], items[1], splits=told)


def on_disk(images: Path, split: Split) -> list[PurePosixPath]:
    """Find the files that a split lists, whatever Unicode form their names have; look into each folder once."""
    paths = [PurePosixPath(path) for path, _ in split.entries]
    for path in paths:
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{split.file}: {str(path)!r} leads out of {images}")

    @cache
    def names_in(folder: PurePosixPath) -> dict[str, str]:
        place = images / folder
        return by_composed((entry.name for entry in place.iterdir()), place) if place.is_dir() else {}

    @cache
    def found(path: PurePosixPath) -> PurePosixPath:
        if not path.parts:
            return path
        parent = found(path.parent)
        return parent / names_in(parent).get(composed(path.name), path.name)

    real = list(map(found, paths))
    if missing := [path for path in real if composed(path.name) not in names_in(path.parent)]:
        raise ValueError(f"{images / missing[0]}: missing, one of {len(missing)} such that {split.file} lists")
    return real


def check_labels(class_names: list[str], split: Split) -> None:
    """Refuse a label that is none of 0..K-1, and a class without an image."""
    if not split.entries:
        raise ValueError(f"{split.file}: lists no image")
    for path, label in split.entries:
        if not 0 <= label < len(class_names):
            raise ValueError(f"{split.file}: {path!r} has label {label}; there are 0..{len(class_names) - 1}")
    if absent := set(range(len(class_names))) - {label for _, label in split.entries}:
        label = min(absent)
        raise ValueError(f"{split.file}: lists no image of class {class_names[label]!r} (label {label})")


def label_of(class_names: Sequence[str], name: str) -> int:
    """Return the position of a class, whose name may have any Unicode form, among names in NFC."""
    if composed(name) not in class_names:
        raise ValueError(f"unknown class {name!r}")
    return class_names.index(composed(name))


def held_out(images: Path, names: dict[str, str]) -> Splits:
    """Split folders, given with their class names, by the digests of the paths, so that it is the same everywhere."""
    train, test = Split(images, []), Split(images, [])
    for label, folder in enumerate(names):
        paths = [composed(f"{folder}/{name}") for name in images_in(images / folder)]
        entries = [(paths[index], label) for index in ranking(paths, seed=0)]
        count = round(HELD_OUT * len(entries))
        test.entries.extend(sorted(entries[:count]))
        train.entries.extend(sorted(entries[count:]))
    return Splits(list(names.values()), HELD_OUT_TOLD, train, test)


Row = tuple[str, int, str]  # path below the folder of images, label, class name


def read_coop(path: Path) -> Splits:
    """Read a split file of CoOp: lists `train` and `test` of [path, label, class name]; its `val` is used by neither.

    Source: Zhou et al. 2022 (CoOp), the data sets of its repository.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in ("train", "test")):
        raise ValueError(f"{path}: malformed; a split file has the lists train, val and test")
    train, test = ((path, rows_of(path, content, name)) for name in ("train", "test"))
    return splits_of_rows(train, test, told=f"CoOp's split file {path.name}")


def rows_of(path: Path, content: dict[str, Any], split: str) -> list[Row]:
    """Return the rows of one list, their class names in NFC."""
    for row in content[split]:
        if not isinstance(row, list) or list(map(type, row)) != [str, int, str]:
            raise ValueError(f"{path}: malformed entry {row!r} of {split}; expected [path, label, class name]")
    return [(image, label, composed(name)) for image, label, name in content[split]]


def splits_of_rows(train: tuple[Path, list[Row]], test: tuple[Path, list[Row]], *, told: str) -> Splits:
    """Take the class names from the rows of two lists; refuse a label with two names, or labels that are not 0..K-1."""
    names: dict[int, str] = {}
    for path, rows in (train, test):
        for image, label, name in rows:
            if names.setdefault(label, name) != name:
                raise ValueError(f"{path}: {image!r}: label {label} is called both {names[label]!r} and {name!r}")
    if absent := set(range(len(names))) - names.keys():
        raise ValueError(
            f"{test[0]}: {len(names)} labels must be 0..{len(names) - 1}, but {min(absent)} is not among them"
        )
    splits = (Split(path, [(image, label) for image, label, _ in rows]) for path, rows in (train, test))
    return Splits([names[label] for label in sorted(names)], told, *splits)
