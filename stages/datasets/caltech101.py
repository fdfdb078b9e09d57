"""Caltech 101."""

from pathlib import Path

from stages.datasets.downloads import by_torchvision
from stages.datasets.holdout import TOLD, hold_out
from stages.datasets.layout import folders_in, place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import listing_of
from stages.datasets.zhou import zhou

LEFT_OUT = {"BACKGROUND_Google", "Faces_easy"}  # no object; the images of Faces once more, cut out
NAMES = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}  # CoOp's


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split; without it holds images out, as there is no official split.

    Args:
        raw: Holds `101_ObjectCategories/` with a folder of each class, and perhaps CoOp's split file, in a folder
            `caltech101`, `caltech-101` or not.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, *(f"{outer}101_ObjectCategories" for outer in ("", "caltech101/", "caltech-101/")))
    return zhou(raw, images, "split_zhou_Caltech101.json") or unofficial(raw, images)


def unofficial(raw: Path, images: Path) -> Listing:
    """A split by digest of the class folders but two."""
    folders = [folder for folder in folders_in(images) if folder not in LEFT_OUT]
    class_names = [NAMES.get(folder, folder) for folder in folders]
    return listing_of(raw, images, class_names, *hold_out(images, folders), told=TOLD)


PAGE = "https://data.caltech.edu/records/mzrjq-6wc02"
SOURCE = Source(
    template="a photo of a {}.",
    origin=f"Caltech 101 (Fei-Fei et al., 2004), {PAGE}",
    licence="CC BY 4.0",
    list_images=list_images,
    download=by_torchvision("Caltech101", page=PAGE),
)
