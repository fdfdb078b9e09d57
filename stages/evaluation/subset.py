"""Draw the test images that expensive attacks are run on: seeded, class-balanced."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.storage.images import Images, checksums_of, joined, read_ids, read_shard, shard_path, shard_paths
from stages.storage.ranking import balanced_ranking


@dataclass(frozen=True)
class Draw:
    """Images of some classes, in the order of their folder; they depend on ids and labels alone, not on the shards."""

    source: Path
    labels: range
    positions: dict[int, np.ndarray]  # ascending positions in a shard, by the index of the shard

    def __len__(self) -> int:
        return sum(map(len, self.positions.values()))

    def shards(self, rows: int) -> Iterator[Images]:
        """Yield the images in even shards of at most `rows`, labelled by position in the classes."""
        waiting = list[Images]()
        parts = self._parts()
        for size in (len(part) for part in np.array_split(np.arange(len(self)), self.count_shards(rows))):
            while sum(map(len, waiting)) < size:
                waiting.append(next(parts))
            together = joined(waiting)
            yield together.take(slice(size))
            waiting = [together.take(slice(size, None))]

    def count_shards(self, rows: int) -> int:
        return math.ceil(len(self) / rows)

    def images(self) -> Images:
        """Return all images, labelled by position in the classes."""
        return joined([*self._parts()])

    def _parts(self) -> Iterator[Images]:
        checksums = checksums_of(self.source)
        for index, positions in self.positions.items():
            yield part_of(read_shard(shard_path(self.source, index), checksums[index]), self.labels, positions)


def draw_from(source: Path, labels: range, count: int | str, *, seed: int) -> Draw:
    """Draw images of some classes from a folder of shards, equally many of each class.

    Args:
        source: The folder.
        labels: The classes.
        count: How many at most, or `all`.
        seed: Of the draw.

    Raises:
        ValueError: If there is none.
    """
    ids, found, origins = [], [], []
    for shard_index, path in enumerate(shard_paths(source)):
        names, in_shard = read_ids(path)
        positions = np.flatnonzero(np.isin(in_shard, labels))
        ids += [names[position] for position in positions]
        found.append(in_shard[positions])
        origins += [(shard_index, position) for position in positions]
    if not origins:
        raise ValueError(f"{source}: no image shows a class of this study; raise data.test_images")
    drawn = balanced_ranking(ids, np.concatenate(found), seed)[: None if count == "all" else count]
    shards, positions = np.array(origins)[np.sort(drawn)].T
    return Draw(source, labels, {int(index): positions[shards == index] for index in np.unique(shards)})


def part_of(shard: Images, labels: range, positions: np.ndarray | slice = slice(None)) -> Images:
    """Return the images of some classes, or those of them at some positions, labelled by position in the classes."""
    part = shard.take(positions)
    part = part.take(np.isin(part.labels, labels))
    return replace(part, labels=part.labels - labels.start)
