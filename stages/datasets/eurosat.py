"""EuroSAT, the RGB images."""

from pathlib import Path

from stages.datasets.downloads import by_torchvision
from stages.datasets.holdout import TOLD, hold_out
from stages.datasets.layout import folders_in, place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import listing_of
from stages.datasets.zhou import zhou

NAMES = {  # folder -> CoOp's name of the class
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split; without it holds images out, as there is no official split.

    Args:
        raw: Holds `2750/` with a folder of each class, and perhaps CoOp's split file, in a folder `eurosat` or not.

    Raises:
        ValueError: If a file is missing or malformed, or a class folder is missing or unknown; the message names it.
    """
    images = place(raw, "2750", "eurosat/2750")
    return zhou(raw, images, "split_zhou_EuroSAT.json") or unofficial(raw, images)


def unofficial(raw: Path, images: Path) -> Listing:
    """A split by digest of the ten class folders."""
    if unknown := set(folders_in(images)) - NAMES.keys():
        raise ValueError(f"{images / min(unknown)}: unknown class; there are: {', '.join(NAMES)}")
    return listing_of(raw, images, list(NAMES.values()), *hold_out(images, list(NAMES)), told=TOLD)


PAGE = "https://github.com/phelber/EuroSAT"
SOURCE = Source(
    template="a centered satellite photo of {}.",
    origin=f"EuroSAT (Helber et al., 2019), {PAGE}",
    licence="MIT; contains Copernicus Sentinel data",
    list_images=list_images,
    download=by_torchvision("EuroSAT", page=PAGE),
)
