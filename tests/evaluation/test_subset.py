"""The images that adaptive attacks are run on: a draw that is balanced over classes and the same over any shards."""

import numpy as np
import pytest

from stages.evaluation.subset import draw_from, part_of
from stages.storage.images import joined, write_images


def drawn_from(shards, folder, classes, count, seed=0):
    """The images (id, label in the classes) that a draw takes of these shards, in order."""
    write_images(folder, shards, {})
    images = draw_from(folder, classes, count, seed=seed).images()
    return [*zip(images.ids, images.labels.tolist(), strict=True)]


def test_a_subset_is_drawn_over_all_shards_and_takes_as_many_of_each_class(shard, tmp_path):
    shards = [shard.take(np.arange(0, 5)), shard.take(np.arange(5, 12))]
    classes = range(1, 3)
    found = drawn_from(shards, tmp_path / "6", classes, 6)
    assert np.bincount([label for _, label in found]).tolist() == [3, 3]
    assert all(shard.labels[shard.ids.index(id)] == label + 1 for id, label in found)
    assert len(drawn_from(shards, tmp_path / "all", classes, "all")) == 8
    assert len(drawn_from(shards, tmp_path / "9", classes, 9)) == 8  # there are no more


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 9], list(range(1, 12))])
def test_a_subset_does_not_depend_on_shards(shard, tmp_path, cuts):
    classes = range(3)
    parts = [shard.take(places) for places in np.split(np.arange(12), cuts)]
    for count in (1, 5, 7):
        whole = drawn_from([shard], tmp_path / f"whole{count}", classes, count)
        assert drawn_from(parts, tmp_path / f"parts{count}", classes, count) == whole
        assert set(whole) <= set(drawn_from([shard], tmp_path / f"more{count}", classes, count + 2))


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 9]])
@pytest.mark.parametrize(("rows", "sizes"), [(1, [1] * 7), (3, [3, 2, 2]), (4, [4, 3]), (100, [7])])
def test_a_draw_comes_in_even_shards_whatever_those_of_its_folder(shard, tmp_path, cuts, rows, sizes):
    write_images(tmp_path / "images", [shard.take(places) for places in np.split(np.arange(12), cuts)], {})
    draw = draw_from(tmp_path / "images", range(3), 7, seed=0)
    shards = [*draw.shards(rows)]
    assert [len(part) for part in shards] == sizes and draw.count_shards(rows) == len(sizes)
    found = joined(shards)
    assert (found.ids, found.labels.tolist()) == (draw.images().ids, draw.images().labels.tolist())
    assert np.array_equal(found.pixels, shard.take(np.isin(shard.ids, found.ids)).pixels)


def test_another_seed_draws_other_images(shard, tmp_path):
    classes = range(3)
    draws = {tuple(drawn_from([shard], tmp_path / str(seed), classes, 6, seed=seed)) for seed in range(5)}
    assert len(draws) > 1


def test_a_folder_without_such_images_is_refused_by_name(shard, tmp_path):
    write_images(tmp_path / "images", [shard], {})
    with pytest.raises(ValueError, match=r"images: no image shows a class of this study; raise data\.test_images"):
        draw_from(tmp_path / "images", range(7, 9), "all", seed=0)


def test_a_part_is_labelled_by_position_in_its_classes(shard):
    part = part_of(shard, range(1, 3), np.array([0, 2, 4]))
    assert part.ids == [shard.ids[2], shard.ids[4]] and part.labels.tolist() == [1, 0]
    assert len(part_of(shard, range(1, 3))) == 8
