"""Filling of a raw folder: by downloads through torchvision, or by the user's hands."""

from collections.abc import Callable
from pathlib import Path


def by_torchvision(name: str, *, page: str) -> Callable[[Path], None]:
    """Makes the download of one of torchvision's data sets, which compares the archives with their digests.

    Args:
        name: Of the class in `torchvision.datasets`.
        page: Where a person finds the data set.

    Returns:
        A function of the raw folder; a failed download is a ValueError that says what to put there instead.
    """

    def download(raw: Path) -> None:
        from torchvision import datasets

        getattr(datasets, name)(raw, download=True)

    return saying_what_failed(download, what=f"torchvision.datasets.{name}", page=page)


def by_archive(url: str, md5: str, *, page: str) -> Callable[[Path], None]:
    """Makes the download of one archive, for which torchvision knows no digest.

    Args:
        url: Of the archive.
        md5: Its digest.
        page: Where a person finds the data set.

    Returns:
        A function of the raw folder; a failed download is a ValueError that says what to put there instead.
    """

    def download(raw: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(url, raw, md5=md5)

    return saying_what_failed(download, what=url, page=page)


def saying_what_failed(download: Callable[[Path], None], *, what: str, page: str) -> Callable[[Path], None]:
    """Makes a download whose failures are errors of the user's kind: what, and the remedy."""

    def guarded(raw: Path) -> None:
        try:
            download(raw)
        except Exception as error:  # the network, the page and the archive each fail in their own ways
            raise ValueError(
                f"{raw}: the download of {what} failed ({error}); empty the folder and try again, "
                f"or put there by hand what {page} offers, unpacked"
            ) from error

    return guarded


def by_hand(what: str, *, page: str) -> Callable[[Path], None]:
    """Makes the answer for a data set that only a person can get.

    Args:
        what: Folders and files to put into the raw folder.
        page: Where a person finds them.

    Returns:
        A function of the raw folder that raises a ValueError saying so.
    """

    def refuse(raw: Path) -> None:
        raise ValueError(f"{raw}: no images, and this data set has no download; put {what} there, from {page}")

    return refuse
