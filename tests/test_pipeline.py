"""The whole, with real DVC, on the micro project: bytes repeat, foreign and damaged artefacts are refused."""

import ast
import ctypes
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from stages.crafting.suite import VERSION
from stages.models.clip import weights_digest
from stages.prompts.generators import tuning_generators
from stages.storage.prompts import load_prompts
from tests.imports import ROOT
from tests.micro import PIXELS, Project, attacking, ran, yaml

DVC = (sys.executable, "-m", "dvc")  # a process of its own, with a PID and capabilities of its own
NO_MORE_CAPABILITY, OVERRIDE, READ_SEARCH = 24, 1, 2  # of prctl: what lets root write where nobody may


def test_with_other_batches_and_workers_nothing_runs_and_if_forced_the_bytes_are_the_same(project):
    """Of all stages that work in batches, and of an attack through a tuned prompt."""
    before = project.lock()
    project.change(runtime__batch_size=20, runtime__workers=3)
    assert project.repro() == set() and "up to date" in project.run("dvc", "status")
    assert project.run("git", "status", "--porcelain") == " M params.yaml\n"
    forced = ["extract", "craft", "embed", "attack-oblivious-pgd_eps8", "attack-oblivious-transfer_eps8"]
    forced += ["zero-shot-zero_shot", "tune-bank-advpt", "refresh-advpt_refreshed", "assess", "interpret"]
    forced += [attacking("refresh", "advpt_refreshed")]
    groups = {re.sub("-(pgd|transfer|zero_shot|advpt|refresh-advpt).*", "", name) for name in forced}
    assert project.repro("-f", "-s", *groups) == set(forced)
    assert project.lock() == before


def clone_of(project: Project, folder: Path, *, cache: Path | None = None) -> Project:
    """A clone of what is committed, in which no stage has run; with a cache of its own or a shared one."""
    project.run("git", "clone", "-q", str(project.folder), str(folder))
    clone = Project(folder, project.environment)
    if cache:
        clone.run("dvc", "cache", "dir", "--local", str(cache))
    return clone


DEFENDED = {"advpt_bits": {"method": "advpt", "defence": {"kind": "bits", "bits": 4}}}
BOTH = ["fashion", "fashion2"]


@pytest.mark.reliability
def test_a_fresh_clone_without_threats_makes_its_report_of_two_data_sets(project, tmp_path):
    clone = clone_of(project, tmp_path / "clone", cache=project.folder / ".dvc/cache")
    clone.change(methods__defended=DEFENDED, methods__adversarial=PIXELS, oblivious={}, adaptive={}, datasets=BOTH)
    assert "plot" in clone.repro()
    assert "up to date" in clone.run("dvc", "status")
    metrics = json.loads((clone.folder / "reports/metrics.json").read_text())
    clean = {"clean": {"zero_shot", "coop", "advpt", "advpt_refreshed", "pixels", "advpt_bits"}}
    found = {one: {threat: set(methods) for threat, methods in metrics[one].items()} for one in metrics}
    assert found == dict.fromkeys(BOTH, clean)


@pytest.mark.reliability
def test_a_clone_is_up_to_date_after_threats_methods_and_data_sets_went_or_were_renamed(project, tmp_path):
    """A new data set reruns nothing that exists.

    `dvc exp run` and `dvc checkout` both remove what DVC has made and no stage makes any more.
    """
    first = clone_of(project, tmp_path / "first", cache=project.folder / ".dvc/cache")
    first.change(datasets=BOTH, methods__defended=DEFENDED, methods__adversarial=PIXELS, adaptive={})
    names = ["evaluate@fashion2-all-zero_shot-zero_shot", "evaluate-adversarial@fashion-all-adversarial-pixels"]
    names += ["evaluate-defended@fashion-all-defended-advpt_bits"]
    stages = first.repro("--no-run-cache", *names)
    made = {"fetch", "adversarial-pixels", "defend-advpt_bits"}  # raw images are never cached, so that a clone has none
    judged = {"evaluate-defended-defended-advpt_bits", "evaluate-adversarial-adversarial-pixels"}
    assert {name for name in stages if "@fashion2" not in name} == made | judged
    commit(first, "more")
    fewer = {"black_box": yaml.load(first.folder / "params.yaml")["oblivious"]["transfer_eps8"]}
    mine = first.folder / "data/predictions/fashion/of_mine.csv"
    for commands in (["exp run"], ["checkout --allow-missing", "repro"]):
        first.restore()
        assert (first.folder / "data/cards/fashion2.json").is_file()
        first.change(datasets=["fashion"], methods__defended={}, oblivious=fewer)
        mine.write_text("1\n")
        for command in commands:
            first.run("dvc", *command.split())
        assert mine.read_text() == "1\n"
        mine.unlink()
        first.repro()
        assert not [path for path in first.folder.glob("data/[!r]*/fashion2/**/*") if path.is_file()]  # all but raw/
    metrics = json.loads((first.folder / "reports/metrics.json").read_text())
    assert set(metrics) == {"fashion"} and set(metrics["fashion"]) == {"clean", "black_box"}
    assert not any("advpt_bits" in methods for methods in metrics["fashion"].values())
    first.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    commit(first, "fewer")
    first.run("dvc", "push")
    second = clone_of(first, tmp_path / "second")
    second.run("dvc", "pull", "--allow-missing")
    assert second.stale() == {"fetch", "extract"}  # the raw images, which one makes and the other reads


def test_an_experiment_runs_in_a_git_worktree(project, tmp_path):
    """An old dulwich knows no worktrees: DVC then does nothing, and says nothing."""
    project.run("git", "worktree", "add", "-q", str(tmp_path / "tree"), "HEAD")
    tree = Project(tmp_path / "tree", project.environment)
    try:
        assert "fetch" in ran(tree.run("dvc", "exp", "run", "-S", "fetch.held_out=0.3", "fetch@fashion"))
        assert yaml.load(tree.folder / "params.yaml")["fetch"]["held_out"] == 0.3
    finally:
        project.run("git", "worktree", "remove", "--force", str(tree.folder))


def commit(project: Project, message: str) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", message)


def test_stored_adversarial_images_are_inside_the_ball(project):
    from stages.storage.images import images_provenance, read_all_images, read_attacks
    from stages.storage.parquet import read_table

    data = project.folder / "data/images/fashion"
    pairs = [("train/bank", "train", 8), ("test/pgd_eps8", "test", 8), ("test/transfer_eps8", "test", 8)]
    pairs += [("adaptive/all/tune_bank/advpt/adaptive_eps4/seed-0", "test", 4)]
    for path, split, eps in pairs:
        stored, clean = read_all_images(data / path), read_all_images(data / split / "clean")
        origin = dict(zip(clean.ids, clean.pixels.astype(int), strict=True))
        moved = max(
            abs(pixels - origin[id]).max() for id, pixels in zip(stored.ids, stored.pixels.astype(int), strict=True)
        )
        assert moved == eps, path
        assert images_provenance(data / path)["attack"]["eps"] == eps
    assert images_provenance(data / path)["suite"] == VERSION
    predictions, _ = read_table(project.folder / "data/predictions/fashion/all/tune_bank/advpt/adaptive_eps4.parquet")
    attacks = read_attacks(next((data / path).glob("*.parquet")))
    assert attacks == dict(zip(predictions["id"].to_pylist(), predictions["attack"].to_pylist(), strict=True))
    assert set(attacks.values()) <= {"none", "cross_entropy", "margin", "target 1", "target 2"}


def test_a_foreign_bank_is_refused_and_nothing_overwritten(project):
    prompts = project.folder / "data/prompts/fashion/all/tune_bank/advpt/prompts.safetensors"
    before = prompts.read_bytes()
    project.change(attack__eps=4)
    failed = project.fails("python", "-m", "stages.tune", "fashion", "all", "tune_bank", "advpt")
    assert "bank.parquet: made with attack" in failed and "Traceback" not in failed
    assert prompts.read_bytes() == before


def test_a_bank_of_another_model_is_refused(project):
    model = project.folder / "data/embedded/tiny-clip"
    configuration = model / "open_clip_config.json"
    before = configuration.read_bytes()
    configuration.write_bytes(before + b"\n")
    project.change(model__sha256=weights_digest(f"local-dir:{model}", None))
    failed = project.fails("python", "-m", "stages.tune", "fashion", "all", "tune_bank", "advpt")
    configuration.write_bytes(before)
    assert re.search(r"(clean|bank)\.parquet: made with model = ", failed) and "Traceback" not in failed


def test_tuning_began_where_the_words_say(project):
    """After two epochs a context is still near its start: the seeds' sources are the same in both stages."""
    context = load_prompts(project.folder / "data/prompts/fashion/all/tune_clean/coop/prompts.safetensors").context
    for learnt, source in zip(context, tuning_generators(0, len(context)), strict=True):
        start = 0.02 * torch.randn(learnt.shape, generator=source)
        assert (torch.from_numpy(learnt) - start).norm() < 0.5 * start.norm()  # of another seed it would be 1.4


def test_a_bit_that_flips_in_place_is_refused_and_leaves_the_copy_of_dvc_whole(project):
    bank = project.folder / "data/features/fashion/train/bank.parquet"
    prompts = project.folder / "data/prompts/fashion/all/tune_bank/advpt/prompts.safetensors"
    content, before = bank.read_bytes(), prompts.read_bytes()
    with bank.open("rb+") as file:
        file.seek(len(content) // 2)
        file.write(bytes([content[len(content) // 2] ^ 1]))
    failed = project.fails("python", "-m", "stages.tune", "fashion", "all", "tune_bank", "advpt")
    assert "bank.parquet: damaged" in failed and "Traceback" not in failed
    assert prompts.read_bytes() == before
    bank.unlink()
    project.run("dvc", "checkout", "embed@fashion")
    assert bank.read_bytes() == content


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


def test_a_read_only_output_folder_is_an_error_at_once(project):
    """A million epochs are not tuned first; and DVC itself cannot take away what lies there."""
    project.change(tune__epochs=1_000_000)
    folder = project.folder / "data/prompts/fashion/all/tune_clean"
    folder.chmod(0o555)
    try:
        status, printed = as_anybody(
            project, sys.executable, "-m", "stages.tune", "fashion", "all", "tune_clean", "coop"
        )
        assert status == 1 and "Traceback" not in printed
        assert "data/prompts/fashion/all/tune_clean/coop: cannot be made" in printed and "no permission" in printed
        status, printed = as_anybody(project, *DVC, "repro", "-s", "-f", "tune-clean@fashion-all-coop")
        assert status != 0 and re.search("Permission denied: .*data/prompts/fashion/all/tune_clean/coop", printed)
    finally:
        folder.chmod(0o755)


def test_a_second_run_at_the_same_time_gets_the_message_of_dvc(project):
    graph, go, log = (project.folder / name for name in ("dvc.yaml", "go", "log"))
    waits = "until test -e go; do sleep 0.05; done; python -m stages.zero_shot"
    graph.write_text(graph.read_text().replace("python -m stages.zero_shot", waits))
    command = (*DVC, "repro", "-s", "zero-shot@fashion-all-zero_shot")
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


def test_the_readme_uses_the_prompts_without_this_project(project, monkeypatch, capsys):
    """Its lines as they stand, on image files: the probabilities are those of the pipeline's own rows."""
    from stages.storage.images import read_all_images
    from stages.storage.parquet import read_table

    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert "stages" not in code and len(code.strip().splitlines()) <= 9
    monkeypatch.chdir(project.folder)
    images = read_all_images(project.folder / "data/images/fashion/test/clean")
    rows = read_table(project.folder / "data/predictions/fashion/all/tune_bank/advpt/oblivious.parquet")[0].to_pandas()
    rows = rows[(rows["threat"] == "clean") & (rows["seed"] == 0)].set_index("id")
    for id, label, pixels in list(zip(images.ids, images.labels, images.pixels, strict=True))[:5]:
        Image.fromarray(pixels).save("photo.png")
        names = {"image": Image.open("photo.png")}
        exec(code, names)
        logs = names["probabilities"].detach().log()
        others = torch.cat([logs[:label], logs[label + 1 :]])
        assert (logs[label] - others.max()).item() == pytest.approx(rows["margin"][id], abs=0.01)
        printed = ast.literal_eval(capsys.readouterr().out)
        assert sum(printed.values()) == pytest.approx(1, abs=1e-5)
        assert max(printed, key=printed.get) == names["about"]["class_names"][rows["prediction"][id]]
    Path("photo.png").unlink()


@pytest.mark.parametrize(
    ("stage", "key", "value", "said"),
    [
        (("plot",), "tune__lr", 0.02, "made with block"),
        (("plot",), "seed", 1, "made with seed"),
        (("evaluate", "fashion", "all", "tune_bank", "advpt"), "tune__lr", 0.02, "made with block"),
        (("evaluate", "fashion", "all", "tune_bank", "advpt"), "data__test_images", 30, "made with data"),
        (("evaluate_images", "fashion", "all", "tune_bank", "advpt"), "data__test_images", 30, "made with data"),
        (("attack_oblivious", "fashion", "transfer_eps8"), "data__shots", 3, "made with data"),
        (("assess", "fashion"), "tune__epochs", 3, "made with block"),
        (("craft", "fashion"), "data__shots", 3, "made with data"),
    ],
)
def test_what_was_made_by_other_parameters_is_refused(project, stage, key, value, said):
    project.change(**{key: value})
    failed = project.fails("python", "-m", f"stages.{stage[0]}", *stage[1:])
    assert said in failed and "but this run has" in failed and "Traceback" not in failed
