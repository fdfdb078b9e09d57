"""A published data set with lists of its images: CoOp's split file where there is one, else the official split."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from stages.datasets.listing import Listing, Source
from stages.datasets.places import place
from stages.datasets.splits import Splits, listing_of, read_coop


def published(
    template: str,
    *,
    origin: str,
    page: str,
    licence: str,
    folders: tuple[str, ...],
    official: Callable[[Path], Splits],
    download: Callable[..., None],
    coop: str = "",
    above: bool = False,
) -> Source:
    """Describe a data set.

    Args:
        template: The hand-written prompt.
        origin: Name and paper; the page is added.
        page: Where a person finds the images.
        licence: Their licence, or the terms of use.
        folders: Where the folder of images may lie below the raw folder, the preferred place first.
        official: Reads the official split from the folder of images.
        download: Fills the raw folder, given the page.
        coop: Name of CoOp's split file, in the raw folder or beside the images.
        above: Whether paths are relative to what holds the folder of images.
    """

    def list_images(raw: Path) -> Listing:
        images = place(raw, *folders)
        images = images.parent if above else images
        places = (folder / coop for folder in (raw, images.parent, images) if coop and folder.is_relative_to(raw))
        split_file = next(filter(Path.is_file, places), None)
        return listing_of(raw, images, read_coop(split_file) if split_file else official(images))

    return Source(template, f"{origin}, {page}", licence, list_images, download=partial(download, page=page))
