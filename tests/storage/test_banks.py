"""Artefacts: round trip, provenance, damage."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.storage.embeddings import Bank, read_bank, write_bank
from stages.storage.images import read_all_images, read_shard, write_images
from stages.storage.parquet import checksum_of, read_table, write_table
from stages.storage.provenance import require, with_versions

ABOUT = {"dataset": "d", "note": "ä \" ' _ <b>"}


@pytest.fixture
def bank() -> Bank:
    generator = np.random.default_rng(0)
    return Bank([f"train/{i}" for i in range(7)], np.arange(7), generator.normal(size=(7, 5)).astype(np.float32))


def test_the_same_rows_make_the_same_bytes(tmp_path, bank):
    for name in ("a", "b"):
        write_bank(tmp_path / name, [bank], with_versions(**ABOUT))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_truncated_damaged_or_missing_file_is_an_error_that_names_it(tmp_path, bank):
    """Flipped bits of all kinds: tests/fuzz."""
    path = tmp_path / "bank.parquet"
    with pytest.raises(ValueError, match=r"bank\.parquet: missing"):
        read_bank(path)
    write_bank(path, [bank], ABOUT)
    whole = path.read_bytes()
    for damaged in (whole[:-20], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bank\.parquet: damaged"):
            read_bank(path)


def test_nan_in_a_bank_is_an_error(tmp_path, bank):
    bank.embeddings[3, 2] = np.nan
    write_bank(tmp_path / "bank.parquet", [bank], ABOUT)
    with pytest.raises(ValueError, match="NaN"):
        read_bank(tmp_path / "bank.parquet")


@pytest.mark.parametrize("change", ["missing", "last one missing", "foreign", "doubled"])
def test_shards_that_do_not_belong_together_are_an_error(tmp_path, shard, change):
    folder, other = tmp_path / "images", tmp_path / "other"
    write_images(folder, shard.split(3), ABOUT)
    write_images(other, replace(shard, labels=shard.labels[::-1]).split(3), ABOUT)
    if "missing" in change:
        (folder / f"0000{1 + ('last' in change)}.parquet").unlink()
    else:
        source = other / "00001.parquet" if change == "foreign" else folder / "00000.parquet"
        (folder / "00001.parquet").write_bytes(source.read_bytes())
    with pytest.raises(ValueError, match="expected"):
        read_all_images(folder)


def test_a_foreign_artefact_is_refused_with_both_values(tmp_path):
    require({"attack": {"eps": 8}}, tmp_path, attack={"eps": 8})
    with pytest.raises(ValueError, match=r"made with attack = \{'eps': 8\}, but this run has attack = \{'eps': 4\}"):
        require({"attack": {"eps": 8}}, tmp_path, attack={"eps": 4})


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "foreign.parquet")
    with pytest.raises(ValueError, match=r"foreign\.parquet: .* no artefact of this project"):
        read_table(tmp_path / "foreign.parquet")


@pytest.mark.parametrize("kind", ["rows", "shard", "gaps"])
def test_a_sealed_file_of_another_kind_is_no_bank(tmp_path, bank, shard, kind):
    path = tmp_path / "bank.parquet"
    columns = {
        "id": bank.ids,
        "label": bank.labels,
        "embedding": pa.FixedSizeListArray.from_arrays(bank.embeddings.reshape(-1), 5),
    }
    if kind == "shard":
        write_images(tmp_path / "images", [shard], ABOUT)
        path = tmp_path / "images/00000.parquet"
    else:
        changed = {"rows": {"embedding": bank.labels}, "gaps": {"label": [None, *bank.labels[1:]]}}[kind]
        write_table(path, [pa.table({**columns, **changed})], ABOUT)
    with pytest.raises(ValueError, match=rf"{path.name}: (of another kind|damaged), (no )?column"):
        read_bank(path)


def test_a_shard_depends_on_its_images_alone(tmp_path, shard):
    for number, parts in enumerate((shard.split(3), shard.split(3)[1:])):
        write_images(tmp_path / str(number), parts, {"number": number})
    assert (tmp_path / "0/00001.parquet").read_bytes() == (tmp_path / "1/00000.parquet").read_bytes()


@pytest.mark.parametrize("about", [{"shape": [4, 5, 3]}, {}])
def test_a_file_of_another_shape_is_no_shard(tmp_path, shard, about):
    columns = {"id": ["a"], "label": pa.array([0], pa.int64()), "image": pa.array([bytes(72)], pa.binary(72))}
    path = tmp_path / "shard.parquet"
    write_table(path, [pa.table(columns)], about)
    with pytest.raises(ValueError, match=r"shard\.parquet: damaged, its images are not of shape"):
        read_shard(path, checksum_of(path))
