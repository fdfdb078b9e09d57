"""ImageNet (ILSVRC 2012), its thousand classes, which the shifted data sets share."""

import runpy
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from stages.datasets.annotations import naming, read_lines
from stages.datasets.downloads import by_hand
from stages.datasets.layout import folders_in, images_in, place
from stages.datasets.listing import Item, Listing, Source

# CLIP's list calls two pairs of classes alike (missile, sunglasses); of each pair this one takes WordNet's name.
RENAMED = {"n04008634": "projectile", "n04355933": "sunglass"}


def list_images(raw: Path) -> Listing:
    """Reads the class folders of the training and the validation images; the latter are judged.

    Args:
        raw: Holds `train/` and `val/` with a folder of each class, in a folder `images` or not, and perhaps CoOp's
            `classnames.txt`.

    Raises:
        ValueError: If a class folder is missing, empty or unknown; the message names it.
    """
    images = place(raw, "images/train", "train").parent
    known = wnids("imagenet")
    classes = classes_of(raw, known)
    train, test = (items_in(raw, images / name, list(classes), known) for name in ("train", "val"))
    return Listing(list(classes.values()), train, test, splits="official (train; the validation images are judged)")


def items_in(raw: Path, images: Path, folders: list[str], known: list[str]) -> list[Item]:
    """Images of the class folders; the label is the position of the folder.

    Raises:
        ValueError: If a folder is missing or empty, or lies there and is not known.
    """
    if not images.is_dir():
        raise ValueError(f"{images}: missing")
    if unknown := set(folders_in(images)) - set(known):
        raise ValueError(f"{images / min(unknown)}: unknown class; the {len(known)} are {known[0]} to {known[-1]}")
    prefix = images.relative_to(raw).as_posix()
    return [
        Item(f"{prefix}/{folder}/{name}", label)
        for label, folder in enumerate(folders)
        for name in images_in(images / folder)
    ]


def classes_of(raw: Path, known: list[str]) -> dict[str, str]:
    """Name of each class by its WordNet id, in the order of the labels.

    Args:
        raw: May hold `classnames.txt`, whose lines are `n01440764 tench`; it then defines classes, order and names.
        known: WordNet ids of the data set's classes; others are left out.

    Raises:
        ValueError: If a line of classnames.txt is malformed or names a class that ImageNet has not.
    """
    path = raw / "classnames.txt"
    names = read_names(path) if path.is_file() else dict(zip(wnids("imagenet"), clip_names(), strict=True))
    classes = {wnid: names[wnid] for wnid in names if wnid in known}
    counts = Counter(classes.values())
    return {wnid: RENAMED.get(wnid, name) if counts[name] > 1 else name for wnid, name in classes.items()}


def read_names(path: Path) -> dict[str, str]:
    """Reads CoOp's classnames.txt."""
    lines = read_lines(path)
    with naming(path):
        pairs = [line.split(" ", 1) for line in lines]
        names = {wnid: name.strip() for wnid, name in pairs}
        if unknown := names.keys() - set(wnids("imagenet")):
            raise ValueError(f"unknown class {min(unknown)!r}")
        if len(names) < len(lines):
            raise ValueError("a class is there twice")
    return names


def wnids(name: str) -> list[str]:
    """WordNet ids of the classes in the order of the labels, from timm's lists.

    Args:
        name: `imagenet` (1000 classes), `imagenet_a` or `imagenet_r` (200 each).
    """
    return (installed("timm") / "data" / "_info" / f"{name}_synsets.txt").read_text(encoding="utf-8").split()


def clip_names() -> list[str]:
    """CLIP's thousand class names, from the one file of open_clip that holds them."""
    return runpy.run_path(str(installed("open_clip") / "zero_shot_metadata.py"))["IMAGENET_CLASSNAMES"]


def installed(package: str) -> Path:
    """Folder of an installed package, without importing it: that would import torch."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None, package
    return Path(spec.origin).parent


PAGE = "https://image-net.org/download.php"
SOURCE = Source(
    template="a photo of a {}.",
    origin=f"ImageNet, ILSVRC 2012 (Russakovsky et al., 2015), {PAGE}",
    licence="for non-commercial research and education, by agreement",
    list_images=list_images,
    download=by_hand("train/ and val/, each with the images in 1000 folders called as n01440764,", page=PAGE),
)
