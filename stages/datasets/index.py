"""The index of a data set: every image's id, split, label and digest; all that later stages know of the raw files."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.datasets.listing import Listing
from stages.storage.layout import index_file
from stages.storage.parquet import read_table, write_table
from stages.storage.provenance import with_versions
from stages.storage.ranking import balanced_ranking, digest_of, ranking


@dataclass(frozen=True)
class Index:
    """All images of a data set."""

    ids: list[str]  # N names, stable over every run and stage
    splits: list[str]  # `train` or `test`, N of them
    labels: np.ndarray  # class indices (N,), int64
    digests: list[bytes]  # sha256 of each image's raw bytes, N times 32 bytes

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.splits) == len(self.labels) == len(self.digests)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sha256(self) -> str:
        """Digest of what all images are, in whatever order they come."""
        lines = zip(self.ids, self.splits, self.labels.tolist(), self.digests, strict=True)
        return hashlib.sha256(
            "".join(sorted(f"{id}\0{split}\0{label}\0{digest.hex()}\n" for id, split, label, digest in lines)).encode()
        ).hexdigest()

    def part(self, split: str) -> "Index":
        """Return the images of one split, in an order that is random but always the same.

        So every shard is a mixture of all classes, whatever the order of the raw files is.
        """
        chosen = np.flatnonzero(np.asarray(self.splits) == split)
        return self.take(chosen[ranking([self.ids[index] for index in chosen], seed=0)])

    def shards(self, rows: int) -> list["Index"]:
        """Cut one split, in the order of `part`, into shards of about so many rows.

        Each shard is a fixed range of the digests that order the images, so that an image more or less changes the
        shard that it is in and no other one, as long as the number of shards stays.
        """
        count = ceil(len(self) / rows)
        shard_of = np.array([int(digest_of(id, seed=0), 16) * count >> 256 for id in self.ids])
        return [self.take(shard_of == index) for index in np.unique(shard_of)]

    def validating(self, share: float) -> "Index":
        """Return the training images, a share of each class moved to `test`, for choices that may not see test images.

        Raises:
            ValueError: If a class would have no image left to train on, or none to validate on.
        """
        train = self.part("train")
        if not len(train):
            raise ValueError("data.validation: there are no training images to validate on; 0 is allowed")
        held = np.zeros(len(train), bool)
        for label in np.unique(train.labels):
            places = np.flatnonzero(train.labels == label)  # in their random order
            held[places[: round(share * len(places))]] = True
            if not 0 < held[places].sum() < len(places):
                raise ValueError(
                    f"data.validation: {share} of the {len(places)} training images of class {label} leaves none on "
                    "one side; another share, or 0 for the test images, is allowed"
                )
        return replace(train, splits=np.where(held, "test", "train").tolist())

    def take(self, chosen: np.ndarray | slice) -> "Index":
        """Return the images at the given positions, or where a mask (N,) holds."""
        columns = (self.ids, self.splits, self.digests)
        ids, splits, digests = (np.array(column, object)[chosen].tolist() for column in columns)
        return Index(ids, splits, self.labels[chosen], digests)


def index_of(listing: Listing, digests: list[bytes]) -> Index:
    """Join a listing with the digests of its images, those of `train` before those of `test`."""
    items = [*listing.train, *listing.test]
    splits = ["train"] * len(listing.train) + ["test"] * len(listing.test)
    return Index([item.id for item in items], splits, np.array([item.label for item in items], np.int64), digests)


def taking_part(part: Index, *, shots: int | str, test_images: int | str, seed: int) -> Index:
    """Return the images of one split that take part; refuse to take more than there are.

    Args:
        part: One split of a data set.
        shots: Training images of each class, or `all`.
        test_images: Number of test images, a balanced draw, or `all`.
        seed: Of the choice; every method gets the same images.
    """
    count = shots if part.splits[0] == "train" else test_images
    if isinstance(count, str):
        return part
    if part.splits[0] == "train":
        counts = Counter(part.labels.tolist())
        if few := {label: number for label, number in counts.items() if number < count}:
            raise ValueError(
                f"data.shots: {count} asked for, but some classes have fewer images (label: count): {few}; "
                f"at most {min(few.values())}, or `all`, is allowed"
            )
        count *= len(counts)
    elif count > len(part):
        raise ValueError(f"data.test_images: {count} asked for, but there are {len(part)}; fewer, or `all`, is allowed")
    return part.take(np.sort(balanced_ranking(part.ids, part.labels, seed)[:count]))


def write_index(path: Path, index: Index, *, dataset: str) -> None:
    columns = {
        "id": pa.array(index.ids, pa.string()),
        "split": pa.array(index.splits, pa.string()),
        "label": pa.array(index.labels, pa.int64()),
        "sha256": pa.array(index.digests, pa.binary(32)),
    }
    write_table(path, [pa.table(columns)], with_versions(dataset=dataset))


def read_index(dataset: str) -> Index:
    """Read the index of a data set; a ValueError names a file that is missing or damaged."""
    table, _ = read_table(index_file(dataset))
    ids, splits, labels, digests = (table[name] for name in ("id", "split", "label", "sha256"))
    return Index(ids.to_pylist(), splits.to_pylist(), labels.to_numpy(), digests.to_pylist())
