"""Filling of a raw folder: by downloads through torchvision, or by the user's hands, with an error that says how."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def by_torchvision(raw: Path, *, name: str, page: str) -> None:
    """Download one of torchvision's data sets, called `name` there, which compares the archives with their digests."""
    with saying_what_failed(raw, f"torchvision.datasets.{name}", page):
        from torchvision import datasets

        getattr(datasets, name)(raw, download=True)


def by_archive(raw: Path, *, url: str, md5: str, page: str) -> None:
    """Download one archive, for which torchvision knows no digest."""
    with saying_what_failed(raw, url, page):
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(url, raw, md5=md5)


@contextmanager
def saying_what_failed(raw: Path, what: str, page: str) -> Iterator[None]:
    """Turn a failure into a ValueError: what, and the page from which a person gets the data set."""
    try:
        yield
    except Exception as error:  # the network, the page and the archive each fail in their own ways
        raise ValueError(
            f"{raw}: the download of {what} failed ({error}); empty the folder and try again, "
            f"or put there by hand what {page} offers, unpacked"
        ) from error


def by_hand(raw: Path, *, what: str, page: str) -> None:
    """Refuse, for a data set that only a person can get: `what` has to be put into the raw folder."""
    raise ValueError(f"{raw}: no images, and this data set has no download; put {what} there, from {page}")
