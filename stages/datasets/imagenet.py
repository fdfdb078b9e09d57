"""ImageNet (ILSVRC 2012) and its shifted test sets: V2, Sketch, A (adversarial) and R (renditions)."""

import runpy
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from stages.datasets.annotations import naming, read_lines
from stages.datasets.downloads import by_hand
from stages.datasets.listing import Item, Listing, Source
from stages.datasets.places import folders_in, images_in, place

# CLIP's list calls two pairs of classes alike (missile, sunglasses); of each pair this one takes WordNet's name.
RENAMED = {"n04008634": "projectile", "n04355933": "sunglass"}
V2 = "imagenetv2-matched-frequency-format-val"


def list_imagenet(raw: Path) -> Listing:
    """List the class folders of `train` and `val`, which may lie in a folder `images`; the latter are judged."""
    images = place(raw, "images/train", "train").parent
    known = wnids("imagenet")
    classes = classes_of(raw, known)
    train, test = (items_in(raw, images / name, list(classes), known) for name in ("train", "val"))
    return Listing(list(classes.values()), train, test, splits="official (train; the validation images are judged)")


def list_shift(raw: Path, *, places: tuple[str, ...], classes: str, numbered: bool = False) -> Listing:
    """List class folders, called by WordNet ids or numbered in their order, that are judged and not tuned on."""
    images, known = place(raw, *places), wnids(classes)
    names = classes_of(raw, known)
    called = {wnid: str(position) if numbered else wnid for position, wnid in enumerate(known)}
    test = items_in(raw, images, [called[wnid] for wnid in names], list(called.values()))
    return Listing(list(names.values()), [], test, splits="all images are judged; there are none to tune on")


def items_in(raw: Path, images: Path, folders: list[str], known: list[str]) -> list[Item]:
    """List the images of the class folders, labelled by position; refuse a folder that is not known."""
    if not images.is_dir():
        raise ValueError(f"{images}: missing")
    if unknown := set(folders_in(images)) - set(known):
        raise ValueError(f"{images / min(unknown)}: unknown class; the {len(known)} are {known[0]} to {known[-1]}")
    return [
        Item((images.relative_to(raw) / folder / name).as_posix(), label)
        for label, folder in enumerate(folders)
        for name in images_in(images / folder)
    ]


def classes_of(raw: Path, known: list[str]) -> dict[str, str]:
    """Name the classes that are known by their WordNet ids, in the order of the labels.

    CoOp's `classnames.txt`, if it lies in the raw folder, defines classes, order and names.
    """
    path = raw / "classnames.txt"
    if path.is_file():
        names = read_names(path)
    else:  # CLIP's names, from the one file of open_clip that holds them
        metadata = runpy.run_path(str(installed("open_clip") / "zero_shot_metadata.py"))
        names = dict(zip(wnids("imagenet"), metadata["IMAGENET_CLASSNAMES"], strict=True))
    classes = {wnid: name for wnid, name in names.items() if wnid in known}
    counts = Counter(classes.values())
    return {wnid: RENAMED.get(wnid, name) if counts[name] > 1 else name for wnid, name in classes.items()}


def read_names(path: Path) -> dict[str, str]:
    """Read CoOp's classnames.txt, whose lines are `n01440764 tench`."""
    pairs = read_lines(path, lambda line: line.split(" ", 1))
    with naming(path):
        names = {wnid: name.strip() for wnid, name in pairs}
        if unknown := names.keys() - set(wnids("imagenet")):
            raise ValueError(f"unknown class {min(unknown)!r}")
        if len(names) < len(pairs):
            raise ValueError("a class is there twice")
    return names


def wnids(name: str) -> list[str]:
    """Return the WordNet ids of `imagenet`, `imagenet_a` or `imagenet_r` by label, from timm's lists."""
    return (installed("timm") / "data" / "_info" / f"{name}_synsets.txt").read_text(encoding="utf-8").split()


def installed(package: str) -> Path:
    """Return the folder of an installed package, without importing it: that would import torch."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None, package
    return Path(spec.origin).parent


def source(origin: str, page: str, licence: str, list_images: Callable[[Path], Listing], what: str) -> Source:
    """Describe a data set of which a person has to put `what` into the raw folder."""
    return Source(
        "a photo of a {}.", f"{origin}, {page}", licence, list_images, download=partial(by_hand, what=what, page=page)
    )


def shift(origin: str, page: str, what: str, *places: str, classes: str = "imagenet", numbered: bool = False) -> Source:
    list_images = partial(list_shift, places=places, classes=classes, numbered=numbered)
    return source(origin, page, "MIT for the collection; the images are their owners'", list_images, what)


SOURCES = {
    "imagenet": source(
        "ImageNet, ILSVRC 2012 (Russakovsky et al., 2015)",
        "https://image-net.org/download.php",
        "for non-commercial research and education, by agreement",
        list_imagenet,
        "train/ and val/, each with the images in 1000 folders called as n01440764,",
    ),
    "imagenet_v2": shift(
        "ImageNetV2, matched frequency (Recht et al., 2019)",
        "https://github.com/modestyachts/ImageNetV2",
        f"{V2}/ (of imagenetv2-matched-frequency.tar.gz)",
        V2,
        numbered=True,
    ),
    "imagenet_sketch": shift(
        "ImageNet-Sketch (Wang et al., 2019)",
        "https://github.com/HaohanWang/ImageNet-Sketch",
        "sketch/, with 1000 folders called as n01440764,",
        "images",
        "sketch",
    ),
    "imagenet_a": shift(
        "ImageNet-A (Hendrycks et al., 2021)",
        "https://github.com/hendrycks/natural-adv-examples",
        "imagenet-a/ (of imagenet-a.tar)",
        "imagenet-a",
        classes="imagenet_a",
    ),
    "imagenet_r": shift(
        "ImageNet-R (Hendrycks et al., 2021)",
        "https://github.com/hendrycks/imagenet-r",
        "imagenet-r/ (of imagenet-r.tar)",
        "imagenet-r",
        classes="imagenet_r",
    ),
}
