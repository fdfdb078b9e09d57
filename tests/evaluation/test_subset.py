"""The draw of test images for expensive attacks."""

import numpy as np

from stages.evaluation.subset import part_of, subset_of
from stages.storage.images import write_images


def test_a_subset_holds_only_images_of_its_classes(shard, tmp_path):
    write_images(tmp_path / "source", shard.split(4), {})
    labels = range(1, 3)
    whole = subset_of(tmp_path / "source", labels, "all", seed=0)
    assert {index: positions.tolist() for index, positions in whole.items()} == {index: [1, 2] for index in range(4)}
    few = subset_of(tmp_path / "source", labels, 3, seed=0)
    assert sum(map(len, few.values())) == 3 and all(set(few[index]) <= {1, 2} for index in few)
    part = part_of(shard, labels, np.array([0, 2, 4]))
    assert part.ids == [shard.ids[index] for index in (2, 4)] and np.array_equal(part.labels, [1, 0])
