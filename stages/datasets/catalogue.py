"""The data sets that the pipeline knows by name; any other name is a folder of the user's own images."""

from pathlib import Path

from stages.datasets import (
    caltech101,
    dtd,
    embedded,
    eurosat,
    fgvc_aircraft,
    flowers102,
    food101,
    imagenet,
    imagenet_shifts,
    oxford_pets,
    stanford_cars,
    sun397,
    ucf101,
)
from stages.datasets.folder import folder_source
from stages.datasets.listing import Source

CATALOGUE = {
    **embedded.SOURCES,  # in this repository
    # the paper's eight
    "flowers102": flowers102.SOURCE,
    "oxford_pets": oxford_pets.SOURCE,
    "imagenet": imagenet.SOURCE,
    "food101": food101.SOURCE,
    "sun397": sun397.SOURCE,
    "dtd": dtd.SOURCE,
    "eurosat": eurosat.SOURCE,
    "ucf101": ucf101.SOURCE,
    # ImageNet's shifts: no training images
    **imagenet_shifts.SOURCES,
    # what the paper's peers have beside them
    "caltech101": caltech101.SOURCE,
    "fgvc_aircraft": fgvc_aircraft.SOURCE,
    "stanford_cars": stanford_cars.SOURCE,
}


def source_of(name: str, raw: Path, *, held_out: float) -> Source:
    """Looks a data set up, first in the catalogue, then among the user's folders.

    Args:
        name: As in `datasets` of params.yaml.
        raw: Its raw folder.
        held_out: Share of each class to judge on, if a user's folder has no test images.

    Raises:
        ValueError: If there is neither; the message lists the catalogue.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if not raw.is_dir():
        raise ValueError(
            f"datasets: no data set called {name!r} and no folder {raw} with images of your own; the catalogue has: "
            f"{', '.join(CATALOGUE)}. If the folder lies on another machine, copy it; what needs no raw image runs "
            "with `--allow-missing`"
        )
    return folder_source(raw, held_out=held_out)
