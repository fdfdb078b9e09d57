"""Draw the test images that expensive attacks are run on: a seeded, class-balanced subset."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.datasets.fewshot import balanced_ranking
from stages.storage.images import Images, read_column, shard_paths


def subset_of(source: Path, classes: Sequence[int], count: int | str, *, seed: int) -> dict[int, np.ndarray]:
    """Draw images of some classes from a folder of shards, equally many of each class.

    Args:
        source: The folder.
        classes: Labels of the classes that take part, see `study_labels`.
        count: How many images at most, or `all`.
        seed: Of the draw, which depends on ids and labels beside it, not on the shards.

    Returns:
        Positions in their shard, ascending, by the indices of the shards that have any, ascending.

    Raises:
        ValueError: If there is none.
    """
    ids, labels, places = [], [], []
    for index, path in enumerate(shard_paths(source)):
        label, names = read_column(path, "label").to_numpy(), read_column(path, "id").to_pylist()
        taking_part = np.flatnonzero(np.isin(label, classes))
        ids += [names[position] for position in taking_part]
        labels.append(label[taking_part])
        places += [(index, position) for position in taking_part]
    if not places:
        raise ValueError(f"{source}: no image of a class that takes part; raise data.test_images")
    drawn = balanced_ranking(ids, np.concatenate(labels), seed)[: None if count == "all" else count]
    shards, positions = np.array(places)[np.sort(drawn)].T
    return {int(index): positions[shards == index] for index in np.unique(shards)}


def part_of(shard: Images, classes: Sequence[int], positions: np.ndarray) -> Images:
    """Return the images at some positions of a shard, labelled by position among the classes (ascending)."""
    part = shard.take(positions)
    return replace(part, labels=np.searchsorted(classes, part.labels))
