"""Oxford-IIIT Pets."""

from pathlib import Path

from stages.datasets.annotations import naming, read_lines
from stages.datasets.downloads import by_torchvision
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import listing_of
from stages.datasets.zhou import Row, names_of, split_of, zhou


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split, or else the official one.

    Args:
        raw: Holds `images/`, `annotations/` and perhaps CoOp's split file, in a folder `oxford-iiit-pet` or not.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, "images", "oxford-iiit-pet/images")
    return zhou(raw, images, "split_zhou_OxfordPets.json") or official(raw, images)


def official(raw: Path, images: Path) -> Listing:
    """The split of annotations/trainval.txt and test.txt."""
    folder = images.parent / "annotations"
    paths = [folder / "trainval.txt", folder / "test.txt"]
    train, test = map(rows_of, paths)
    class_names = names_of(folder, train + test)
    splits = map(split_of, paths, (train, test))
    return listing_of(raw, images, class_names, *splits, told="official (trainval.txt, test.txt)")


def rows_of(path: Path) -> list[Row]:
    """Rows of a list whose lines are `Abyssinian_100 1 1 1`: image, breed from 1, species, number within it."""
    lines = read_lines(path)
    with naming(path):
        words = [line.split() for line in lines]
        return [(f"{image}.jpg", int(breed) - 1, image.rpartition("_")[0].lower()) for image, breed, _, _ in words]


PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
SOURCE = Source(
    template="a photo of a {}, a type of pet.",
    origin=f"Oxford-IIIT Pets (Parkhi et al., 2012), {PAGE}",
    licence="CC BY-SA 4.0",
    list_images=list_images,
    download=by_torchvision("OxfordIIITPet", page=PAGE),
)
