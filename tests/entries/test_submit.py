"""A preset, run on the micro project, then packed as an entry and verified, by the commands of a user."""

import json
import re
import shutil
import sys

import pandas as pd
import pytest

from stages.entries.record import OUTCOMES
from stages.runtime.params import load_params
from stages.submit import everything
from tests.imports import ROOT
from tests.micro import METHODS, PIXELS


@pytest.mark.reliability
def test_a_preset_becomes_an_entry(project):
    project.change(methods__adversarial=PIXELS, oblivious={}, adaptive={})
    shutil.copytree(ROOT / "presets", project.folder / "presets")
    few = [f"adaptive.suite_eps4.{change}" for change in ("steps=2", "restarts=1", "targets=1", "images=10")]
    few += ["data.shots=4", "data.test_images=40"]  # as the project has them, so that its images are used
    few = [word for change in few for word in ("-S", change)]
    printed = project.run("python", "-m", "stages.preset", "csr", "--embedded", *few)
    _, *lines = printed.partition("theirs")[2].splitlines()
    assert lines[0].startswith("fashion") and lines[1].startswith("mean") and "66.3" in lines[1]

    project.run("dvc", "exp", "apply", re.search(r"`dvc exp apply (\S+)`", printed)[1])
    method = "fashion/all/defended/zero_shot_csr"
    printed = project.run("python", "-m", "stages.submit", method, "packed", "--preset", "csr")
    assert "wrote packed, n = 10" in printed
    record = json.loads(project.run("python", "-m", "stages.verify", "packed", "--json"))["record"]
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    (result,) = record["results"]
    assert result["adaptive"]["accuracy"] == metrics["worst_eps4"]["zero_shot_csr"]["accuracy"]
    assert result["clean"]["accuracy"] == metrics["worst_eps4"]["zero_shot_csr"]["clean_accuracy"]
    assert record["method"]["preset"] == "csr" and record["commit"].endswith("-dirty")

    printed = project.run("python", "-m", "stages.submit", method, "small", "--images", "5", "--json")
    (entry,) = json.loads(printed)["entries"]
    assert entry["entry"] == "small" and entry["record"]["data"]["n"] == 5
    everything, fewer = (pd.read_parquet(project.folder / name / OUTCOMES) for name in ("packed", "small"))
    pd.testing.assert_frame_equal(fewer, everything[everything["id"].isin(fewer["id"])].reset_index(drop=True))

    (project.folder / "small/entry.json").write_text(
        json.dumps(record | {"model": {**record["model"], "sha256": "0" * 64}})
    )
    assert "entry of another model" in project.fails("python", "-m", "stages.submit", method, "small")
    (project.folder / "mine").mkdir()
    assert "is no entry" in project.fails("python", "-m", "stages.submit", method, "mine")
    assert "there are: zero_shot/zero_shot" in project.fails("python", "-m", "stages.submit", f"{method}x", "new")
    assert "usage" in project.fails("python", "-m", "stages.submit", "advpt", "new", code=2)
    project.change(data__validation=0.1)
    assert "0 is allowed" in project.fails("python", "-m", "stages.submit", method, "new")
    assert not any((project.folder / "mine").iterdir()) and not (project.folder / "new").exists()


def test_every_eps_needs_the_suite(project):
    project.change(adaptive__weak={"method": "pgd", "objective": "margin", "eps": 8, "steps": 1, "step_ratio": 1.0,
                                   "restarts": 1, "images": 10, "tuning_seeds": 1})  # fmt: skip
    printed = project.fails("python", "-m", "stages.submit", "fashion/all/zero_shot/zero_shot", "new")
    assert "needs an adaptive threat of the method suite at every eps of: [4.0, 8.0]" in printed


def test_models_have_folders_of_their_own():
    params = load_params()
    changes = [
        {},
        {"name": "ViT-B-32", "pretrained": "openai"},
        {"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
        {"name": "ViT-B-32", "pretrained": "openai", "visual_weights": "data/robust tower.pt"},
    ]
    made = [everything(params.model_copy(update={"model": params.model.model_copy(update=one)})) for one in changes]
    assert [str(folders["fashion", "all", "tune_clean", "coop"]) for folders in made] == [
        "entries/fashion-tiny-clip-coop",
        "entries/fashion-vit-b-32-openai-coop",
        "entries/fashion-vit-b-32-laion2b_s34b_b79k-coop",
        "entries/fashion-vit-b-32-openai-robust-tower.pt-coop",
    ]


def test_an_experiment_becomes_entries_of_the_commit_that_it_started_from(project):
    started, ref = project.run("git", "rev-parse", "HEAD").strip(), "refs/exps/aa/bb/towers-m"
    project.change(runtime__batch_size=99)  # stands for what an experiment changes, but makes no stage run
    project.run("git", "commit", "-qam", "experiment")
    project.run("git", "update-ref", ref, "HEAD")
    project.run("git", "reset", "-q", "--hard", started)
    pack = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "reports.studies.entries"]
    assert "no experiment called nothing" in project.fails(*pack, "nothing", code=2)
    assert "towers-m: no method called apt" in project.fails(*pack, "towers-m", "apt")
    project.run(*pack, "towers-m", "advpt")
    assert [path.name for path in (project.folder / "entries").iterdir()] == ["fashion-tiny-clip-advpt"]
    project.run(*pack, "towers-m")
    names = {path.name for path in (project.folder / "entries").iterdir()}
    assert names == {f"fashion-tiny-clip-{name}" for _, name in METHODS}
    record = json.loads(project.run("python", "-m", "stages.verify", "entries/fashion-tiny-clip-advpt", "--json"))[
        "record"
    ]
    assert record["commit"] == started and record["data"]["n"] == 10
