"""The card of a data set: what the pipeline needs to know besides its images, as readable JSON."""

import unicodedata
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from stages.storage.layout import card_file
from stages.storage.notes import read_note, write_note


class Card(BaseModel):
    """One data set."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str  # as in `datasets` of params.yaml
    class_names: list[str]  # K names; the label of an image is an index into them
    template: str  # the hand-written prompt, `{}` standing for the class name
    sha256: str  # one digest for all raw images with their splits and labels
    origin: str  # where the images come from
    licence: str
    splits: str  # where the splits come from
    packed: bool  # whether the raw images are rows of Parquet files
    notes: list[str]  # what the checks of the data found worth saying

    @field_validator("class_names")
    @classmethod
    def distinct(cls, names: list[str]) -> list[str]:
        """Return the names in NFC; refuse those that are equal once underscores are read as spaces, as prompts do."""
        names = [composed(name) for name in names]
        spoken = [name.replace("_", " ") for name in names]
        if len(names) < 2:
            raise ValueError(f"{len(names)} class; a classifier needs at least 2")
        for name, count in Counter(spoken).items():
            if count > 1:
                raise ValueError(f"two classes are called {name!r}; rename one")
        return names


def composed(name: str) -> str:
    """Return a name in NFC, the form in which names are compared."""
    return unicodedata.normalize("NFC", name)


def write_card(path: Path, card: Card) -> None:
    write_note(path, card.model_dump())


def read_card(dataset: str) -> Card:
    """Read the card of a data set; a ValueError names a file that is missing, damaged or no card."""
    path = card_file(dataset)
    try:
        return Card.model_validate(read_note(path))
    except ValidationError as error:
        raise ValueError(f"{path}: no card of this project ({error})") from error
