"""Images that DVC does not cache: experiments outside the workspace and clones, by real DVC."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image

from tests.micro import Project


def write_own(folder, classes=("bag", "coat", "dress", "shirt"), **splits):
    """PNGs of 32 px, all different."""
    generator = np.random.default_rng(0)
    for split, count in splits.items():
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")


@pytest.fixture(scope="module")
def own(fresh) -> Project:
    """One's own images, extracted and committed."""
    write_own(fresh.folder / "data/raw/mine", train=4, test=2)
    fresh.change(datasets=["mine"], data__test_images="all", oblivious={}, adaptive={})
    fresh.repro("extract@mine")
    fresh.run("git", "add", ".")
    fresh.run("git", "commit", "-qm", "own")
    return fresh


def images(project) -> list[str]:
    return sorted(path.name for path in (project.folder / "data/raw/mine").rglob("*.png"))


def test_an_experiment_in_a_temporary_folder_reads_the_images_of_the_workspace(own):
    before = images(own)
    assert "Ran experiment" in own.run("dvc", "exp", "run", "--temp", "-S", "data.shots=2", "extract@mine")
    assert images(own) == before and not (own.folder / "data/raw/mine").is_symlink()


@pytest.mark.reliability
def test_so_does_a_queued_one(own):
    own.run("dvc", "exp", "run", "--queue", "-S", "data.shots=3", "extract@mine")
    own.run("dvc", "queue", "start")
    for _ in range(120):
        if "Success" in (told := own.run("dvc", "queue", "status")) or "Failed" in told:
            break
        time.sleep(1)
    assert "Success" in told, told


def test_a_clone_runs_what_needs_no_raw_image(own, tmp_path):
    own.run("dvc", "remote", "add", "--local", "-d", "-f", "there", str(tmp_path / "remote"))
    own.run("dvc", "push", "-q")
    own.run("git", "clone", "-q", str(own.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", own.environment)
    clone.run("dvc", "remote", "add", "--local", "-d", "there", str(tmp_path / "remote"))
    clone.run("dvc", "pull", "-q", "extract@mine", "--with-deps")
    printed = clone.run("dvc", "exp", "run", "--allow-missing", "-S", "attack.eps=4", "craft@mine")
    assert "Ran experiment" in printed
    shutil.rmtree(clone.folder / ".dvc/tmp")
    assert "--allow-missing" in clone.fails("dvc", "repro", "fetch@mine", code=255)


def test_a_change_is_noticed_by_all_that_read_the_images(own):
    extra = own.folder / "data/raw/mine/test/bag/extra.png"
    Image.new("RGB", (40, 40), "red").save(extra)
    told = own.run("dvc", "status", "fetch@mine", "extract@mine")
    assert told.count("data/raw/mine") == 2, told
    assert "Ran experiment" in own.run("dvc", "exp", "run", "extract@mine") and extra.is_file()


def test_test_images_alone_are_judged_in_a_transfer(own):
    own.run("git", "checkout", "-q", ".")
    write_own(own.folder / "data/raw/judged", classes=("bag", "coat", "dress"), test=3)
    own.change(test_only=["judged"], transfer={"sources": ["mine"], "targets": ["judged"]}, data__shots=4)
    own.change(
        oblivious={"pgd_eps8": {"method": "feature_pgd", "objective": "kl", "eps": 8, "steps": 1, "step_ratio": 1.0}}
    )
    evaluated = "evaluate-transfer-clean@judged-mine-tune_clean-coop"
    attacked = "attack-oblivious-test-only@judged-pgd_eps8"
    assert {"fetch-test-only@judged", "extract-test-only@judged", attacked, evaluated} <= own.repro(evaluated)
    own.change(test_only=[], datasets=["mine", "judged"], transfer={"sources": [], "targets": []})
    assert "judged has no train images; a data set with test images alone goes under `test_only`" in own.fails(
        "dvc", "repro", "extract@judged", code=255
    )
