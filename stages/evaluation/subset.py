"""Draw the test images that expensive attacks are run on: a seeded, class-balanced subset."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.datasets.ranking import balanced_ranking
from stages.storage.images import Images, read_ids, shard_paths


def subset_of(source: Path, labels: range, count: int | str, *, seed: int) -> dict[int, np.ndarray]:
    """Draw images of some classes from a folder of shards, equally many of each class.

    Args:
        source: The folder.
        labels: The classes.
        count: How many at most, or `all`.
        seed: Of the draw, which depends on ids and labels beside it, not on the shards.

    Returns:
        Positions in their shard, ascending, by the indices of the shards that have any, ascending.

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
    return {int(index): positions[shards == index] for index in np.unique(shards)}


def part_of(shard: Images, labels: range, positions: np.ndarray | slice = slice(None)) -> Images:
    """Return the images of some classes, or those of them at some positions, labelled by position in the classes."""
    part = shard.take(positions)
    part = part.take(np.isin(part.labels, labels))
    return replace(part, labels=part.labels - labels.start)
