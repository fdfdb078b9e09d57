"""Splits and classes of images, as the files of a data set state them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Item:
    id: str  # its path below the raw folder, parts joined by `/`; stable over every run and stage
    label: int  # index into the class names


@dataclass(frozen=True)
class Listing:
    """All images that take part.

    Attributes:
        class_names: K names, as a prompt says them (underscores are read as spaces).
        train: Images to tune on; empty for a data set that has none, such as ImageNetV2.
        test: Images to judge.
        splits: Where the splits come from, in a few words for the report.
    """

    class_names: list[str]
    train: list[Item]
    test: list[Item]
    splits: str


@dataclass(frozen=True)
class Source:
    """A data set: functions that fetch it and read it.

    Attributes:
        template: The hand-written prompt, `{}` standing for the class name (CoOp's for the data set).
        origin: Where the images come from.
        licence: Their licence, or the terms of use.
        list_images: Reads the listing from the raw folder; a ValueError names what is missing or wrong.
        download: Fills the raw folder, or says what a person has to put there (ValueError).
        packed: Whether the images are rows of Parquet files, as the embedded ones are, instead of one file each.
        own: Whether these are the user's images, whose doubles are errors and not just notes.
    """

    template: str
    origin: str
    licence: str
    list_images: Callable[[Path], Listing]
    download: Callable[[Path], None]
    packed: bool = False
    own: bool = False
