"""Stanford Cars."""

from pathlib import Path

from stages.datasets.annotations import naming, read_mat
from stages.datasets.downloads import by_hand
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import Split, listing_of
from stages.datasets.zhou import PAGE as COOP
from stages.datasets.zhou import zhou


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split, or else the official one.

    Args:
        raw: Holds `cars_train/`, `cars_test/` and either CoOp's split file or `devkit/` and
            `cars_test_annos_withlabels.mat`, in a folder `stanford_cars` or not.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    folder = place(raw, "cars_train", "stanford_cars/cars_train").parent
    return zhou(raw, folder, "split_zhou_StanfordCars.json") or official(raw, folder)


def official(raw: Path, folder: Path) -> Listing:
    """The split of the two folders, with the labels of the .mat files."""
    names = read_mat(folder / "devkit" / "cars_meta.mat", "class_names").tolist()
    train = split_of(folder / "devkit" / "cars_train_annos.mat", "cars_train")
    test = split_of(folder / "cars_test_annos_withlabels.mat", "cars_test")
    return listing_of(raw, folder, [spoken(name) for name in names], train, test, told="official (train, test)")


def split_of(path: Path, folder: str) -> Split:
    """Reads the names of the images and their classes, counted from 1."""
    annotations = read_mat(path, "annotations")
    with naming(path):
        return Split(path, [(f"{folder}/{car['fname']}", int(car["class"]) - 1) for car in annotations])


def spoken(name: str) -> str:
    """`AM General Hummer SUV 2000` -> `2000 AM General Hummer SUV`."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}".strip()


SOURCE = Source(
    template="a photo of a {}.",
    origin="Stanford Cars (Krause et al., 2013)",
    licence="for non-commercial research only",
    list_images=list_images,
    download=by_hand("cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat", page=COOP),
)
