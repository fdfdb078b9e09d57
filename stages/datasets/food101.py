"""Food-101."""

from pathlib import Path

from stages.datasets.annotations import naming, read_json
from stages.datasets.downloads import by_torchvision
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source
from stages.datasets.names import composed
from stages.datasets.splits import Split, label_of, listing_of
from stages.datasets.zhou import zhou


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split, or else the official one.

    Args:
        raw: Holds `images/`, `meta/` and perhaps CoOp's split file, in a folder `food-101` or not.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, "images", "food-101/images")
    return zhou(raw, images, "split_zhou_Food101.json") or official(raw, images)


def official(raw: Path, images: Path) -> Listing:
    """The split of meta/train.json and test.json: class name -> paths without their suffix."""
    meta = images.parent / "meta"
    content = read_json(meta / "train.json")
    with naming(meta / "train.json"):
        class_names = sorted(set(map(composed, content)))
    train, test = (split_of(meta / f"{name}.json", class_names) for name in ("train", "test"))
    return listing_of(raw, images, class_names, train, test, told="official (meta/train.json, test.json)")


def split_of(path: Path, class_names: list[str]) -> Split:
    """Reads one of the two lists."""
    content = read_json(path)
    with naming(path):
        labelled = [(label_of(class_names, name), paths) for name, paths in content.items()]
        return Split(path, [(f"{image}.jpg", label) for label, paths in labelled for image in paths])


PAGE = "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/"
SOURCE = Source(
    template="a photo of {}, a type of food.",
    origin=f"Food-101 (Bossard et al., 2014), {PAGE}",
    licence="images from Foodspotting, whose terms hold; published for research",
    list_images=list_images,
    download=by_torchvision("Food101", page=PAGE),
)
