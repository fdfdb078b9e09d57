"""The clean test images that an entry is about: a class-balanced draw, from embedded data or from the pipeline."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from stages.datasets import embedded
from stages.datasets.index import index_of
from stages.evaluation.study import study_labels
from stages.evaluation.subset import draw_from
from stages.storage.card import read_card
from stages.storage.checksum import checksum_of_arrays
from stages.storage.images import MANIFEST, Images, write_images
from stages.storage.layout import clean_images

Fit = Callable[[Image.Image], np.ndarray]  # brings an image to the size of a model


def draw(dataset: str, study: str, count: int, *, seed: int, fit: Fit = np.asarray) -> Images:
    """Return the images of a draw, ordered by their ids, labelled by position in the classes of the study."""
    with clean_split(dataset, fit) as (folder, classes):
        drawn = draw_from(folder, study_labels(study, classes), count, seed=seed).images()
    return drawn.take(np.argsort(np.array(drawn.ids, object), kind="stable"))


@contextmanager
def clean_split(dataset: str, fit: Fit) -> Iterator[tuple[Path, int]]:
    """Yield a folder of shards of clean test images, and the number of classes.

    Those of an embedded data set are all of its own; of another one, those that the pipeline has here.

    Raises:
        ValueError: If there are none.
    """
    folder = clean_images(dataset, "test")
    if dataset in embedded.SHA256:
        with embedded_files(dataset) as raw:
            folder, listing, opened = raw / "clean", embedded.list_rows(raw), embedded.open_rows(raw)
            pixels = np.stack([fit(opened(item.id)) for item in listing.test])
            labels = np.array([item.label for item in listing.test])
            write_images(folder, [Images([item.id for item in listing.test], labels, pixels)], {})
            yield folder, len(listing.class_names)
    elif (folder / MANIFEST).is_file():
        yield folder, len(read_card(dataset).class_names)
    else:
        raise ValueError(
            f"{folder}: missing; an entry is checked against the clean test images of {dataset}: name it in "
            "`datasets` of params.yaml and run `dvc repro extract`"
        )


@contextmanager
def embedded_files(dataset: str) -> Iterator[Path]:
    """Yield a temporary folder with the files of an embedded data set, whose digests are right."""
    with TemporaryDirectory() as made:
        embedded.copy_files(Path(made), embedded.FOLDER.with_name(dataset))
        yield Path(made)


def facts_of(dataset: str) -> tuple[list[str], str, str]:
    """Return the class names of a data set, its template, and the digest of its images with their splits and labels.

    Raises:
        ValueError: If it is neither embedded nor fetched.
    """
    if dataset not in embedded.SHA256:
        card = read_card(dataset)
        return card.class_names, card.template, card.sha256
    with embedded_files(dataset) as raw:
        listing, content = embedded.list_rows(raw), embedded.content_of(raw)
        digests = [hashlib.sha256(content(item.id)).digest() for item in (*listing.train, *listing.test)]
        return listing.class_names, embedded.SOURCES[dataset].template, index_of(listing, digests).sha256


def digest_of(images: Images) -> str:
    """Return the sha256 of ids, labels and pixels."""
    return checksum_of_arrays({"labels": images.labels, "pixels": images.pixels}, {"ids": images.ids})
