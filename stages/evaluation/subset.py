"""Draw the test images that expensive attacks are run on: a seeded, class-balanced subset."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.datasets.fewshot import balanced_ranking
from stages.evaluation.study import Study
from stages.storage.images import Images, read_column, shard_paths


def subset_of(source: Path, study: Study, count: int | str, *, seed: int) -> dict[int, np.ndarray]:
    """Draws images of a folder of shards that show a class of the study, equally many of each class.

    Args:
        source: The folder.
        study: Whose classes.
        count: How many at most, or `all`.
        seed: Of the draw, which depends on ids and labels beside it, not on the shards.

    Returns:
        Positions in their shard, ascending, by the indices of the shards that have any, ascending.

    Raises:
        ValueError: If there is none.
    """
    ids, labels, places = [], [], []
    for index, path in enumerate(shard_paths(source)):
        label, names = read_column(path, "label").to_numpy(), read_column(path, "id").to_pylist()
        showing = np.flatnonzero(study.takes_part(label))
        ids += [names[position] for position in showing]
        labels.append(label[showing])
        places += [(index, position) for position in showing]
    if not places:
        raise ValueError(f"{source}: no image shows a class of {study.name}; raise data.test_images")
    drawn = balanced_ranking(ids, np.concatenate(labels), seed)[: None if count == "all" else count]
    shards, positions = np.array(places)[np.sort(drawn)].T
    return {int(index): positions[shards == index] for index in np.unique(shards)}


def part_of(shard: Images, study: Study, positions: np.ndarray) -> Images:
    """The images at these positions of a shard, labelled as the study does."""
    part = shard.take(positions)
    return replace(part, labels=study.relabel(part.labels))
