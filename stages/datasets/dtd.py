"""Describable Textures (DTD)."""

from pathlib import Path, PurePosixPath

from stages.datasets.annotations import read_lines
from stages.datasets.downloads import by_torchvision
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import Split, listing_of
from stages.datasets.zhou import zhou


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split, or else the first official one, whose val1.txt is used by neither.

    Args:
        raw: Holds `images/`, `labels/` and perhaps CoOp's split file, in the folders `dtd/dtd`, `dtd` or none.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, "images", "dtd/images", "dtd/dtd/images")
    return zhou(raw, images, "split_zhou_DescribableTextures.json") or official(raw, images)


def official(raw: Path, images: Path) -> Listing:
    """The first of the ten official splits; the lines of its lists are `banded/banded_0002.jpg`."""
    paths = [images.parent / "labels" / name for name in ("train1.txt", "test1.txt")]
    lists = [[(image, PurePosixPath(image).parent.name) for image in read_lines(path)] for path in paths]
    class_names = sorted({name for listed in lists for _, name in listed})
    splits = [
        Split(path, [(image, class_names.index(name)) for image, name in listed])
        for path, listed in zip(paths, lists, strict=True)
    ]
    return listing_of(raw, images, class_names, *splits, told="official (labels/train1.txt, test1.txt)")


PAGE = "https://www.robots.ox.ac.uk/~vgg/data/dtd/"
SOURCE = Source(
    template="{} texture.",
    origin=f"Describable Textures (Cimpoi et al., 2014), {PAGE}",
    licence="none stated; published for research",
    list_images=list_images,
    download=by_torchvision("DTD", page=PAGE),
)
