"""A preset, run on the micro project, then packed as an entry and verified, by the commands of a user."""

import json
import shutil
import sys

from tests.imports import ROOT
from tests.micro import PIXELS

PYTHON = sys.executable


def test_a_preset_becomes_an_entry(project):
    project.change(methods__adversarial=PIXELS, assess__method="zero_shot/zero_shot", oblivious={}, adaptive={})
    shutil.copytree(ROOT / "presets", project.folder / "presets")
    few = ("steps=2", "restarts=1", "targets=1", "images=10")
    few = [word for change in few for word in ("-S", f"adaptive.suite_eps4.{change}")]
    printed = project.run(PYTHON, "-m", "stages.preset", "csr", "--embedded", *few)
    _, *lines = printed.partition("theirs")[2].splitlines()
    assert lines[0].startswith("fashion") and lines[1].startswith("mean") and "66.3" in lines[1]

    method = "fashion/all/defended/zero_shot_csr"
    printed = project.run(PYTHON, "-m", "stages.submit", method, "packed", "--preset", "csr")
    assert "wrote packed, n = 10" in printed
    record = json.loads(project.run(PYTHON, "-m", "stages.verify", "packed", "--json"))["record"]
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    (result,) = record["results"]
    assert result["adaptive"]["accuracy"] == metrics["worst_eps4"]["zero_shot_csr"]["accuracy"]
    assert result["clean"]["accuracy"] == metrics["worst_eps4"]["zero_shot_csr"]["clean_accuracy"]
    assert record["method"]["preset"] == "csr" and record["commit"].endswith("-dirty")

    (project.folder / "mine").mkdir()
    assert "is no entry" in project.fails(PYTHON, "-m", "stages.submit", method, "mine")
    assert "there are: zero_shot/zero_shot" in project.fails(PYTHON, "-m", "stages.submit", f"{method}x", "new")
    assert "usage" in project.fails(PYTHON, "-m", "stages.submit", "advpt", "new", code=2)
    assert not any((project.folder / "mine").iterdir()) and not (project.folder / "new").exists()
