"""The clean test images that an entry is about: a class-balanced draw, from the pipeline or from embedded data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stages.datasets import embedded
from stages.datasets.card import read_card
from stages.evaluation.study import study_labels
from stages.evaluation.subset import part_of, subset_of
from stages.storage.checksum import checksum_of_arrays
from stages.storage.images import MANIFEST, Images, read_images, write_images
from stages.storage.layout import clean_images


def draw(dataset: str, study: str, count: int, *, seed: int) -> Images:
    """Return the images of a draw, ordered by their ids, labelled by position in the classes of the study."""
    with clean_split(dataset) as (folder, classes):
        labels = study_labels(study, classes)
        chosen = subset_of(folder, labels, count, seed=seed)
        shards = enumerate(read_images(folder))
        parts = [part_of(shard, labels, chosen[index]) for index, shard in shards if index in chosen]
    drawn = Images(
        [id for part in parts for id in part.ids],
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.pixels for part in parts]),
    )
    return drawn.take(np.argsort(np.array(drawn.ids, object), kind="stable"))


@contextmanager
def clean_split(dataset: str) -> Iterator[tuple[Path, int]]:
    """Yield a folder of shards of clean test images, and the number of classes.

    Raises:
        ValueError: If there are none and the data set is not embedded in the repository.
    """
    folder = clean_images(dataset, "test")
    if (folder / MANIFEST).is_file():
        yield folder, len(read_card(dataset).class_names)
    elif dataset in embedded.SHA256:
        with TemporaryDirectory() as made:
            raw, folder = Path(made), Path(made) / "clean"
            embedded.copy_files(raw, embedded.FOLDER.with_name(dataset))
            listing, opened = embedded.list_rows(raw), embedded.open_rows(raw)
            pixels = np.stack([np.asarray(opened(item.id)) for item in listing.test])
            labels = np.array([item.label for item in listing.test])
            write_images(folder, [Images([item.id for item in listing.test], labels, pixels)], {})
            yield folder, len(listing.class_names)
    else:
        raise ValueError(
            f"{folder}: missing; an entry is checked against the clean test images of {dataset}: name it in "
            "`datasets` of params.yaml and run `dvc repro extract`"
        )


def digest_of(images: Images) -> str:
    """Return the sha256 of ids, labels and pixels."""
    return checksum_of_arrays({"labels": images.labels, "pixels": images.pixels}, {"ids": images.ids})
