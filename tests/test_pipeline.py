"""The whole, with real DVC, on the micro project: bytes repeat, foreign and damaged artefacts are refused."""

import ctypes
import os
import re
import subprocess
import sys
import time

import torch

from stages.models.clip import weights_digest
from tests.imports import ROOT

NO_MORE_CAPABILITY, OVERRIDE, READ_SEARCH = 24, 1, 2  # of prctl: what lets root write where nobody may


def test_a_second_time_nothing_runs_and_nothing_differs(project):
    assert project.repro() == set()
    assert project.run("git", "status", "--porcelain") == ""
    assert "up to date" in project.run("dvc", "status")


def test_forced_with_other_batches_and_workers_the_bytes_are_the_same(project):
    before = project.lock()
    project.change(runtime__batch_size=20, runtime__workers=3)
    assert project.repro() == set()
    assert len(project.repro("-f")) == 17
    assert project.lock() == before
    assert "params.yaml" in project.run("git", "status", "--porcelain")
    assert "reports" not in project.run("git", "status", "--porcelain")


def test_stored_adversarial_images_are_inside_the_ball(project):
    from stages.banks.images import images_provenance, read_all_images

    data = project.folder / "data"
    pairs = [("bank/fashion/images", "train", 8), ("test/fashion/pgd_eps8/images", "test", 8)]
    pairs += [
        ("test/fashion/transfer_eps8/images", "test", 8),
        ("test/fashion/adaptive_eps4/images/advpt-0", "test", 4),
    ]
    for path, split, eps in pairs:
        stored, clean = read_all_images(data / path), read_all_images(data / "clean/fashion" / split / "images")
        origin = dict(zip(clean.ids, clean.pixels.astype(int), strict=True))
        moved = max(
            abs(pixels - origin[id]).max() for id, pixels in zip(stored.ids, stored.pixels.astype(int), strict=True)
        )
        assert moved == eps, path
        assert images_provenance(data / path)["attack"]["eps"] == eps


def test_45_a_foreign_bank_is_refused_and_nothing_overwritten(project):
    prompts = project.folder / "data/prompts/fashion/advpt/prompts.safetensors"
    before = prompts.read_bytes()
    project.change(attack__eps=4)
    failed = project.fails("python", "-m", "stages.tune", "fashion", "advpt")
    assert "embeddings.parquet: made with attack" in failed and "Traceback" not in failed
    assert prompts.read_bytes() == before


def test_45_a_bank_of_another_model_is_refused(project):
    model = project.folder / "data/embedded/tiny-clip"
    (model / "other.txt").write_text("another digest")
    project.change(model__sha256=weights_digest(f"local-dir:{model}", None))
    failed = project.fails("python", "-m", "stages.tune", "fashion", "advpt")
    (model / "other.txt").unlink()
    assert re.search(r"(features|embeddings)\.parquet: made with model = ", failed) and "Traceback" not in failed


def test_44_a_damaged_bank_is_refused_and_nothing_overwritten(project):
    bank = project.folder / "data/bank/fashion/embeddings.parquet"
    prompts = project.folder / "data/prompts/fashion/advpt/prompts.safetensors"
    before, content = prompts.read_bytes(), bytearray(bank.read_bytes())
    content[len(content) // 2] ^= 1
    bank.unlink()  # it may be a link into the cache
    bank.write_bytes(content)
    failed = project.fails("python", "-m", "stages.tune", "fashion", "advpt")
    bank.unlink()
    assert "embeddings.parquet: damaged" in failed and "Traceback" not in failed
    assert prompts.read_bytes() == before


def as_anybody(project, *command):
    """Runs a command that may write only where its user may; returns its exit status and what it printed."""

    def drop():
        if os.geteuid() == 0:
            for capability in (OVERRIDE, READ_SEARCH):
                ctypes.CDLL(None).prctl(NO_MORE_CAPABILITY, capability, 0, 0, 0)

    done = subprocess.run(
        command, cwd=project.folder, env=project.environment, preexec_fn=drop, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_50_a_read_only_output_folder_is_an_error_at_once(project):
    """A million epochs are not tuned first; and DVC itself cannot take away what lies there."""
    project.change(tune__epochs=1_000_000)
    folder = project.folder / "data/prompts/fashion"
    folder.chmod(0o555)
    try:
        status, printed = as_anybody(project, sys.executable, "-m", "stages.tune", "fashion", "coop")
        assert status == 1 and "Traceback" not in printed
        assert "data/prompts/fashion/coop: cannot be written" in printed and "no permission" in printed
        status, printed = as_anybody(project, "dvc", "repro", "-s", "-f", "hand@fashion")
        assert status != 0 and re.search("Permission denied: .*data/prompts/fashion/hand", printed)
    finally:
        folder.chmod(0o755)


def test_51_a_second_run_at_the_same_time_gets_the_message_of_dvc(project):
    graph, go, log = (project.folder / name for name in ("dvc.yaml", "go", "log"))
    waits = "until test -e go; do sleep 0.05; done; python -m stages.hand"
    graph.write_text(graph.read_text().replace("python -m stages.hand", waits))
    command = ("dvc", "repro", "-s", "hand@fashion")
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=out, stderr=out) as first,
    ):
        try:
            while "Running stage" not in log.read_text():
                assert first.poll() is None
                time.sleep(0.05)
            failed = project.fails(*command, code=255)
        finally:
            go.touch()
    assert first.returncode == 0, log.read_text()
    go.unlink()
    log.unlink()
    assert f"is busy, it is being blocked by:\n  (PID {first.pid})" in failed


def test_the_readme_uses_the_prompts_without_this_project(project, monkeypatch):
    from stages.banks.bank import read_bank
    from stages.banks.table import read_table

    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert "stages" not in code
    bank, _ = read_bank(project.folder / "data/clean/fashion/test/features.parquet")
    names = {"features": torch.tensor(bank.embeddings)}
    monkeypatch.chdir(project.folder)
    exec(code, names)
    rows = read_table(project.folder / "data/rows/fashion/clean.parquet")[0].to_pandas()
    first = rows[(rows["prompt"] == "advpt") & (rows["seed"] == 0)]
    assert first["id"].tolist() == bank.ids
    assert first["prediction"].tolist() == names["probabilities"].argmax(-1).tolist()
    torch.testing.assert_close(names["probabilities"].sum(-1), torch.ones(len(bank.ids)))
