"""Splits as CoOp publishes them: `split_zhou_<Name>.json` with lists of [path, label, class name].

Of its three lists `train` is tuned on and `test` judged; `val` is used by neither.
"""

from pathlib import Path
from typing import Any

from stages.datasets.annotations import read_json
from stages.datasets.layout import beside
from stages.datasets.listing import Listing
from stages.datasets.names import composed
from stages.datasets.splits import Split, listing_of

PAGE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
Row = tuple[str, int, str]  # path below the folder of images, label, class name


def zhou(raw: Path, images: Path, name: str) -> Listing | None:
    """Reads CoOp's split file where there is one.

    Args:
        raw: The raw folder of the data set.
        images: The folder to which the paths are relative.
        name: Of the split file, which lies in the raw folder or beside the images.

    Returns:
        The listing, or None if there is no such file.

    Raises:
        ValueError: If the file is no split file or does not agree with the images; the message names file and entry.

    Source: Zhou et al. 2022 (CoOp), the data sets of its repository.
    """
    if not (path := beside(raw, images, name)):
        return None
    content = read_json(path)
    train, test = (rows_of(path, content, split) for split in ("train", "test"))
    class_names = names_of(path, train + test)
    return listing_of(
        raw, images, class_names, split_of(path, train), split_of(path, test), told=f"CoOp's split file {name}"
    )


def rows_of(path: Path, content: Any, split: str) -> list[Row]:
    """Rows of one list of a split file, the class names in NFC.

    Raises:
        ValueError: If there is no such list, or a row is not [path, label, class name].
    """
    match content:
        case {"train": [*_], "test": [*_]}:
            rows = content[split]
        case _:
            raise ValueError(f"{path}: malformed; a split file has the lists train, val and test")
    for row in rows:
        match row:
            case [str(), int(), str()]:
                pass
            case _:
                raise ValueError(f"{path}: malformed entry {row!r} of {split}; expected [path, label, class name]")
    return [(image, label, composed(name)) for image, label, name in rows]


def names_of(path: Path, rows: list[Row]) -> list[str]:
    """Class names in the order of their labels.

    Args:
        path: What lists the rows; error messages name it.
        rows: Of all splits.

    Raises:
        ValueError: If a label has two names, or the labels are not 0..K-1.
    """
    names: dict[int, str] = {}
    for image, label, name in rows:
        if names.setdefault(label, name) != name:
            raise ValueError(f"{path}: {image!r}: label {label} is called both {names[label]!r} and {name!r}")
    if absent := set(range(len(names))) - names.keys():
        raise ValueError(
            f"{path}: {len(names)} labels must be 0..{len(names) - 1}, but {min(absent)} is not among them"
        )
    return [names[label] for label in range(len(names))]


def split_of(path: Path, rows: list[Row]) -> Split:
    """A split of rows whose class names are known."""
    return Split(path, [(image, label) for image, label, _ in rows])
