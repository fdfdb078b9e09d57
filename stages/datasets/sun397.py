"""SUN397, scenes."""

from pathlib import Path, PurePosixPath

from stages.datasets.annotations import naming, read_lines
from stages.datasets.downloads import by_torchvision
from stages.datasets.layout import beside, place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import Split, label_of, listing_of
from stages.datasets.zhou import PAGE as COOP
from stages.datasets.zhou import zhou

LISTS = "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip"


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split, or else the first official one.

    Args:
        raw: Holds `SUN397/` and either CoOp's split file or the official `ClassName.txt`, `Training_01.txt` and
            `Testing_01.txt`, which the download does not bring.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, "SUN397")
    return zhou(raw, images, "split_zhou_SUN397.json") or official(raw, images)


def official(raw: Path, images: Path) -> Listing:
    """The first of the ten official splits, as CoOp: 50 images of each class to tune on, 50 to judge."""
    classes = read_lines(listed(raw, images, "ClassName.txt"))
    train, test = (split_of(listed(raw, images, f"{name}_01.txt"), classes) for name in ("Training", "Testing"))
    class_names = [spoken(path) for path in classes]
    return listing_of(raw, images, class_names, train, test, told="official (Training_01.txt, Testing_01.txt)")


def listed(raw: Path, images: Path, name: str) -> Path:
    """The path of an official list."""
    if not (path := beside(raw, images, name)):
        raise ValueError(f"{raw / name}: missing; unpack {LISTS} there, or put split_zhou_SUN397.json there ({COOP})")
    return path


def split_of(path: Path, classes: list[str]) -> Split:
    """Reads a list whose lines are `/a/abbey/sun_aaalbzqrimafwbiv.jpg`."""
    lines = read_lines(path)
    with naming(path):
        return Split(
            path, [(line.removeprefix("/"), label_of(classes, str(PurePosixPath(line).parent))) for line in lines]
        )


def spoken(path: str) -> str:
    """`/a/apse/indoor` -> `indoor apse`: without the letter, what qualifies comes first."""
    return " ".join(reversed(path.split("/")[2:])).replace("_", " ")


PAGE = "https://vision.princeton.edu/projects/2010/SUN/"
SOURCE = Source(
    template="a photo of a {}.",
    origin=f"SUN397 (Xiao et al., 2010), {PAGE}",
    licence="none stated; published for research",
    list_images=list_images,
    download=by_torchvision("SUN397", page=PAGE),
)
