"""ImageNet's shifted test sets: V2, Sketch, A (adversarial) and R (renditions)."""

from functools import partial
from pathlib import Path

from stages.datasets.downloads import by_hand
from stages.datasets.imagenet import classes_of, items_in, wnids
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source

TOLD = "all images are judged; there are none to tune on"
V2 = "imagenetv2-matched-frequency-format-val"


def list_v2(raw: Path) -> Listing:
    """Reads the folders 0..999, called by their position among ImageNet's classes.

    Args:
        raw: Holds the folder V2, and perhaps CoOp's `classnames.txt`.

    Raises:
        ValueError: If a class folder is missing, empty or unknown; the message names it.
    """
    images, known = place(raw, V2), wnids("imagenet")
    classes = classes_of(raw, known)
    folders = [str(known.index(wnid)) for wnid in classes]
    test = items_in(raw, images, folders, [str(position) for position in range(len(known))])
    return Listing(list(classes.values()), [], test, splits=TOLD)


def list_folders(raw: Path, *, places: tuple[str, ...], classes: str) -> Listing:
    """Reads folders called by WordNet ids.

    Args:
        raw: Holds the class folders, and perhaps CoOp's `classnames.txt`.
        places: Where the class folders may lie below `raw`.
        classes: Name of the list of classes, as `wnids` takes it.

    Raises:
        ValueError: If a class folder is missing, empty or unknown; the message names it.
    """
    images, known = place(raw, *places), wnids(classes)
    names = classes_of(raw, known)
    test = items_in(raw, images, list(names), known)
    return Listing(list(names.values()), [], test, splits=TOLD)


V2_PAGE = "https://github.com/modestyachts/ImageNetV2"
SKETCH_PAGE = "https://github.com/HaohanWang/ImageNet-Sketch"
A_PAGE = "https://github.com/hendrycks/natural-adv-examples"
R_PAGE = "https://github.com/hendrycks/imagenet-r"
SOURCES = {
    "imagenet_v2": Source(
        template="a photo of a {}.",
        origin=f"ImageNetV2, matched frequency (Recht et al., 2019), {V2_PAGE}",
        licence="MIT for the collection; the images are their owners'",
        list_images=list_v2,
        download=by_hand(f"{V2}/ (of imagenetv2-matched-frequency.tar.gz)", page=V2_PAGE),
    ),
    "imagenet_sketch": Source(
        template="a photo of a {}.",
        origin=f"ImageNet-Sketch (Wang et al., 2019), {SKETCH_PAGE}",
        licence="MIT for the collection; the images are their owners'",
        list_images=partial(list_folders, places=("images", "sketch"), classes="imagenet"),
        download=by_hand("sketch/, with 1000 folders called as n01440764,", page=SKETCH_PAGE),
    ),
    "imagenet_a": Source(
        template="a photo of a {}.",
        origin=f"ImageNet-A (Hendrycks et al., 2021), {A_PAGE}",
        licence="MIT for the collection; the images are their owners'",
        list_images=partial(list_folders, places=("imagenet-a",), classes="imagenet_a"),
        download=by_hand("imagenet-a/ (of imagenet-a.tar)", page=A_PAGE),
    ),
    "imagenet_r": Source(
        template="a photo of a {}.",
        origin=f"ImageNet-R (Hendrycks et al., 2021), {R_PAGE}",
        licence="MIT for the collection; the images are their owners'",
        list_images=partial(list_folders, places=("imagenet-r",), classes="imagenet_r"),
        download=by_hand("imagenet-r/ (of imagenet-r.tar)", page=R_PAGE),
    ),
}
