"""The same bytes with any workers, batches, shards and kernels of BLAS, and prompts in float64 with any kernels."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.storage.embeddings import read_bank
from stages.storage.images import read_all_images
from stages.storage.parquet import read_table
from stages.storage.prompts import load_prompts
from tests.imports import ROOT
from tests.micro import METHODS
from tests.reliability.small import ADV_VLP, ADVPT, ORDER, Small

LEFT_OUT = {"defend", "attack_oblivious", "interpret", "model_card"}
KEPT = [stage for stage in ORDER if stage[0] not in LEFT_OUT and "defended" not in stage]
PACKAGE = {
    "square_eps4": {"method": "square", "queries": 20},
    "autoattack_eps4": {"method": "autoattack", "version": "fast"},
}
STAGES = [stage for stage in KEPT if stage != ("attack_adaptive", *ADV_VLP, "adaptive_eps4")]
STAGES += [("attack_adaptive", *ADVPT, threat) for threat in PACKAGE]
FEATURES = [f"features/fashion/{name}.parquet" for name in ("train/clean", "test/clean")]
OLD = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
IMAGES = [
    "images/fashion/train/clean",
    "images/fashion/train/bank",
    "images/fashion/adaptive/all/tune_bank/advpt/adaptive_eps4/seed-0",
]


def made_with(folder: Path, *, shard_rows: int = 120, blas: str = "", **runtime: int) -> Small:
    """120 training and 100 test images through the stages, with other kernels of OpenBLAS in a process of its own."""
    small = Small.at(folder)
    small.params["data"] |= {"shots": 12, "test_images": 100, "shard_rows": shard_rows}
    small.params["adaptive"]["adaptive_eps4"] |= {"images": 80, "steps": 2}
    shared = {"eps": 4, "images": 20, "tuning_seeds": 1, "batch_size": 12}
    small.params["adaptive"] |= {threat: block | shared for threat, block in PACKAGE.items()}
    small.params["assess"] |= {"images": 20, "autoattack_images": 5}
    small.params["runtime"] |= {"batch_size": 64, "workers": 1, **runtime}
    small.params["oblivious"], small.params["methods"]["defended"] = {}, {}
    small.write_params()
    if blas:  # read when numpy is imported
        run = f"from {__name__} import run_stages; run_stages({str(folder)!r})"
        subprocess.run([sys.executable, "-c", run], cwd=ROOT, env={**os.environ, "OPENBLAS_CORETYPE": blas}, check=True)
    else:
        run_stages(folder)
    return small


def run_stages(folder: str | Path) -> None:
    """Runs the stages in a folder, one after the other."""
    for stage in STAGES:
        Small(Path(folder)).run(*stage)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Small:
    """In batches of 64, one after the other."""
    return made_with(tmp_path_factory.mktemp("expected") / "run")


@pytest.mark.parametrize(
    "runtime",
    [{"workers": 2}, {"workers": 3, "batch_size": 33}, {"batch_size": 1}, {"workers": 2, "batch_size": 7}],
    ids=str,
)
def test_workers_and_batches_do_not_change_a_byte(expected, tmp_path, runtime, record_property):
    digests = made_with(tmp_path / "run", **runtime).digests()
    assert digests == expected.digests()
    record_property("files made again with other workers and batches, all with the same bytes", len(digests))


@pytest.mark.parametrize(
    ("shard_rows", "blas"), [(7, ""), (40, ""), (64, ""), (40, "Haswell"), (64, "Nehalem")], ids=str
)
def test_shards_do_not_change_what_is_in_them(expected, tmp_path, shard_rows, blas):
    """Nor do kernels of OpenBLAS, which sum in an order that hangs on the number of rows."""
    made = made_with(tmp_path / "run", shard_rows=shard_rows, blas=blas)
    ours, theirs = (run.folder / "data" for run in (made, expected))
    for path in IMAGES:
        found, right = read_all_images(ours / path), read_all_images(theirs / path)
        assert found.ids == right.ids and np.array_equal(found.pixels, right.pixels)
    for path in FEATURES:
        assert np.array_equal(read_bank(ours / path)[0].embeddings, read_bank(theirs / path)[0].embeddings)
    for group, method in METHODS:
        path = f"prompts/fashion/all/{group}/{method}/prompts.safetensors"
        assert np.array_equal(load_prompts(ours / path).text_features, load_prompts(theirs / path).text_features)
        for threats in ("oblivious", "adaptive_eps4"):
            path = f"predictions/fashion/all/{group}/{method}/{threats}.parquet"
            found, right = (read_table(data / path)[0].to_pandas() for data in (ours, theirs))
            order = ["seed", "id"]
            assert found.sort_values(order, ignore_index=True).equals(right.sort_values(order, ignore_index=True))
    tables = ["assessment/fashion.parquet", *(f"predictions/{'/'.join(ADVPT)}/{threat}.parquet" for threat in PACKAGE)]
    for path in tables:
        assert read_table(ours / path)[0].equals(read_table(theirs / path)[0])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other kernels are those of x86")
@pytest.mark.parametrize("kind", ["adv_vp", "adv_vlp"])
def test_in_float64_other_kernels_tune_the_same_prompt(tmp_path, kind):
    """With those of old processors; in float32 they round otherwise, which flips signs of the attack."""
    small = Small.at(tmp_path / "run")
    block = {"kind": kind, "eps": [4, 8], "steps": 1, "epochs": 4, "tuning_seeds": 1, "batch_size": 40, "lr": 0.04}
    small.params["methods"]["adversarial"] = {"double": block | {"float64": True}, "single": block}
    small.write_params()
    for stage in ("fetch", "extract"):
        small.run(stage, "fashion")

    def tuned(method: str, kernels: dict[str, str]) -> bytes:
        command = [sys.executable, "-m", "stages.adversarial", "fashion", "all", method]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **kernels}
        subprocess.run(command, cwd=small.folder, env=environment, check=True)
        return (small.folder / f"data/prompts/fashion/all/adversarial/{method}/prompts.safetensors").read_bytes()

    assert tuned("double", {}) == tuned("double", OLD)
    assert tuned("single", {}) != tuned("single", OLD)
