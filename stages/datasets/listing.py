"""Splits and classes of images, as the files of a data set state them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Item:
    id: str  # its path below the raw folder, parts joined by `/`; stable over every run and stage
    label: int  # index into the class names; -1 in a folder that is no class, which the faults name


@dataclass(frozen=True)
class Listing:
    """All images that take part."""

    class_names: list[str]  # K names, as a prompt says them (underscores are read as spaces)
    train: list[Item]  # images to tune on; empty for a data set that has none, such as ImageNetV2
    test: list[Item]  # images to judge
    splits: str  # where the splits come from, in a few words for the report
    faults: list[str] = field(default_factory=list)  # what does not fit; `fetch` refuses it after all other checks


@dataclass(frozen=True)
class Source:
    """A data set: functions that fetch it and read it."""

    template: str  # the hand-written prompt, `{}` standing for the class name (CoOp's for the data set)
    origin: str  # where the images come from
    licence: str  # their licence, or the terms of use
    list_images: Callable[[Path], Listing]  # reads the raw folder; a ValueError names what is missing or wrong
    # fills the raw folder, or says what a person has to put there (ValueError); None for a folder of the user's images,
    # whose doubles are errors and not just notes
    download: Callable[[Path], None] | None
    packed: bool = False  # whether the images are rows of Parquet files, as the embedded ones are
