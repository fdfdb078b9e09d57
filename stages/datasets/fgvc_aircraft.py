"""FGVC-Aircraft, the variants."""

from pathlib import Path

from stages.datasets.annotations import naming, read_lines
from stages.datasets.downloads import by_archive
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import Split, label_of, listing_of


def list_images(raw: Path) -> Listing:
    """Reads the official split, which is CoOp's too: `train` and `test`; `val` is used by neither.

    Args:
        raw: Holds `images/`, `variants.txt` and `images_variant_{train,test}.txt`, in the folder
            `fgvc-aircraft-2013b/data`, `data` or none.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, "images", "data/images", "fgvc-aircraft-2013b/data/images")
    folder = images.parent
    class_names = read_lines(folder / "variants.txt")
    train, test = (split_of(folder / f"images_variant_{name}.txt", class_names) for name in ("train", "test"))
    told = "official (images_variant_train.txt, images_variant_test.txt)"
    return listing_of(raw, images, class_names, train, test, told=told)


def split_of(path: Path, class_names: list[str]) -> Split:
    """Reads a list whose lines are `1025794 707-320`: image, variant."""
    lines = read_lines(path)
    with naming(path):
        pairs = [line.split(" ", 1) for line in lines]
        return Split(path, [(f"{image}.jpg", label_of(class_names, variant)) for image, variant in pairs])


PAGE = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"
MD5 = "d4acdd33327262359767eeaa97a4f732"  # of the archive of 2013, as other projects check it
SOURCE = Source(
    template="a photo of a {}, a type of aircraft.",
    origin=f"FGVC-Aircraft (Maji et al., 2013), {PAGE}",
    licence="for non-commercial research only",
    list_images=list_images,
    download=by_archive(f"{PAGE}archives/fgvc-aircraft-2013b.tar.gz", MD5, page=PAGE),
)
