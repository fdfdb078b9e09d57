"""Oxford Flowers 102."""

from pathlib import Path

from stages.datasets.annotations import naming, read_json, read_mat
from stages.datasets.downloads import by_torchvision
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import Split, listing_of
from stages.datasets.zhou import zhou


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split, or else the official one, of which `valid` is used by neither.

    Args:
        raw: Holds `jpg/`, `imagelabels.mat`, `setid.mat` and perhaps `cat_to_name.json` or CoOp's split file, in a
            folder `flowers-102` or not.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, "jpg", "flowers-102/jpg")
    return zhou(raw, images, "split_zhou_OxfordFlowers.json") or official(raw, images)


def official(raw: Path, images: Path) -> Listing:
    """The split of setid.mat: 10 images of each class to tune on, the rest but 10 to judge."""
    folder = images.parent
    labels = dict(enumerate(read_mat(folder / "imagelabels.mat", "labels").tolist(), start=1))
    path = folder / "setid.mat"
    train, test = (read_mat(path, name).tolist() for name in ("trnid", "tstid"))
    with naming(path):
        splits = [Split(path, [(f"image_{id:05d}.jpg", labels[id] - 1) for id in ids]) for ids in (train, test)]
    return listing_of(raw, images, class_names(folder / "cat_to_name.json"), *splits, told="official (setid.mat)")


def class_names(path: Path) -> list[str]:
    """CoOp's names, or torchvision's, which are the same but for a stray question mark.

    Args:
        path: CoOp's cat_to_name.json, which need not exist.
    """
    if path.is_file():
        names = read_json(path)
        with naming(path):
            return [names[str(number)] for number in range(1, len(names) + 1)]
    from torchvision.datasets import Flowers102

    return [name.rstrip("?") for name in Flowers102.classes]


PAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
SOURCE = Source(
    template="a photo of a {}, a type of flower.",
    origin=f"Oxford Flowers 102 (Nilsback and Zisserman, 2008), {PAGE}",
    licence="none stated; published for research",
    list_images=list_images,
    download=by_torchvision("Flowers102", page=PAGE),
)
