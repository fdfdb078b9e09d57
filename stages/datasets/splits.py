"""From the entries of two splits to a listing, after checking them against the files that are there."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from stages.datasets.listing import Item, Listing
from stages.datasets.names import by_composed, composed


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        file: What lists it; error messages name it.
        entries: Path below the folder of images and label of each image; a path in any Unicode form.
    """

    file: Path
    entries: list[tuple[str, int]]


def listing_of(raw: Path, images: Path, class_names: list[str], train: Split, test: Split, *, told: str) -> Listing:
    """Makes the listing of a data set whose splits are lists of paths; ids are the paths as they are on disk.

    Args:
        raw: The raw folder.
        images: The folder below it to which the paths are relative.
        class_names: K names.
        train: Images to tune on.
        test: Images to judge.
        told: Where the splits come from.

    Raises:
        ValueError: If an image is missing, outside the raw folder or listed twice, or a class is unknown or has no
            image; the message names the list and the entry.
    """
    prefix = images.relative_to(raw)
    paths = [paths_on_disk(images, split) for split in (train, test)]
    for split in (train, test):
        check_labels(class_names, split)
    train_items, test_items = (
        [Item((prefix / path).as_posix(), label) for path, (_, label) in zip(real, split.entries, strict=True)]
        for real, split in zip(paths, (train, test), strict=True)
    )
    doubled, count = Counter(item.id for item in train_items + test_items).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{train.file}, {test.file}: {doubled!r} is listed {count} times; each image may be once")
    return Listing(class_names, train_items, test_items, splits=told)


def paths_on_disk(images: Path, split: Split) -> list[PurePosixPath]:
    """Finds the files that a split lists, whatever Unicode form their names have; looks into each folder once.

    Args:
        images: The folder to which the paths are relative.
        split: What is listed.

    Returns:
        The path of each entry, as it is on disk.

    Raises:
        ValueError: If a path leads out of the folder, there is no such file, or two names in a folder differ in
            Unicode form alone.
    """
    paths = [PurePosixPath(path) for path, _ in split.entries]
    for path in paths:
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{split.file}: {str(path)!r} leads out of {images}")

    @cache
    def names_in(folder: PurePosixPath) -> dict[str, str]:
        place = images / folder
        return by_composed((entry.name for entry in place.iterdir()), place) if place.is_dir() else {}

    @cache
    def folder_of(folder: PurePosixPath) -> PurePosixPath:
        return found(folder) if folder.parts else folder

    def found(path: PurePosixPath) -> PurePosixPath:
        parent = folder_of(path.parent)
        return parent / names_in(parent).get(composed(path.name), path.name)

    on_disk = [found(path) for path in paths]
    if missing := [path for path in on_disk if composed(path.name) not in names_in(path.parent)]:
        raise ValueError(f"{images / missing[0]}: missing, one of {len(missing)} such that {split.file} lists")
    return on_disk


def check_labels(class_names: list[str], split: Split) -> None:
    """Compares the labels with the classes.

    Args:
        class_names: K names.
        split: What is checked.

    Raises:
        ValueError: If a label is none of 0..K-1, or a class has no image.
    """
    if not split.entries:
        raise ValueError(f"{split.file}: lists no image")
    counts = Counter(label for _, label in split.entries)
    for path, label in split.entries:
        if not 0 <= label < len(class_names):
            raise ValueError(f"{split.file}: {path!r} has label {label}; there are 0..{len(class_names) - 1}")
    for label, name in enumerate(class_names):
        if not counts[label]:
            raise ValueError(f"{split.file}: lists no image of class {name!r} (label {label})")


def label_of(class_names: list[str], name: str) -> int:
    """Position of a class.

    Args:
        class_names: K names, in NFC.
        name: In any Unicode form.

    Raises:
        ValueError: If there is none of that name.
    """
    if composed(name) not in class_names:
        raise ValueError(f"unknown class {name!r}")
    return class_names.index(composed(name))
