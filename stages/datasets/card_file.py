"""The card of a data set on disk: data/cards/<dataset>.json."""

from pathlib import Path

from pydantic import ValidationError

from stages.datasets.card import Card
from stages.storage.notes import read_note, write_note


def path_of_card(dataset: str) -> Path:
    """Where the card of a data set lies."""
    return Path(f"data/cards/{dataset}.json")


def write_card(path: Path, card: Card) -> None:
    """Writes a card as readable JSON."""
    write_note(path, card.model_dump())


def read_card(dataset: str) -> Card:
    """Reads the card of a data set.

    Raises:
        ValueError: If the file is missing, damaged or no card.
    """
    path = path_of_card(dataset)
    try:
        return Card.model_validate(read_note(path))
    except ValidationError as error:
        raise ValueError(f"{path}: no card of this project ({error})") from error
