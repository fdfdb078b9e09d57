"""What runs again when something changes: DVC on the micro project, by the names of the stages that ran."""

import json
import re

import pytest

from stages.storage.embeddings import read_bank
from stages.storage.parquet import read_table
from tests.micro import ran, yaml

PROMPTS_AND_ROWS = {
    "tune",
    "evaluate-clean",
    "evaluate-pgd_eps8",
    "evaluate-transfer_eps8",
    "adapt-adaptive_eps4",
    "assess",
    "words",
    "model-card",
    "plot",
}


OF_REFRESHED = PROMPTS_AND_ROWS - {"tune"} | {"refresh"}


def test_another_eps_of_the_bank_reruns_what_depends_on_it(project):
    printed = project.run("dvc", "exp", "run", "-n", "eps4", "-S", "attack.eps=4")
    assert ran(printed) == {"craft", "embed", *PROMPTS_AND_ROWS}
    changes = json.loads(project.run("dvc", "metrics", "diff", "--json"))
    assert any("advpt" in key for metrics in changes.values() for key in metrics)
    project.run("dvc", "plots", "diff", "HEAD", "eps4", "-o", "compared")
    page = (project.folder / "compared/index.html").read_text()
    assert "eps4" in page and "accuracy.csv" in page


def test_one_threat_reruns_itself_and_the_report(project):
    project.change(oblivious__pgd_eps8__steps=3)
    assert project.repro() == {"craft-test-pgd_eps8", "evaluate-pgd_eps8", "model-card", "plot"}


def test_one_adaptive_threat_reruns_itself_and_the_report(project):
    project.change(adaptive__adaptive_eps4__eps=2)
    assert project.repro() == {"adapt-adaptive_eps4", "model-card", "plot"}


def test_a_new_threat_reruns_nothing_that_exists(project):
    project.change(
        oblivious__pgd_eps2={"method": "feature_pgd", "objective": "kl", "eps": 2, "steps": 1, "step_ratio": 1.0}
    )
    assert project.repro() == {"craft-test-pgd_eps2", "evaluate-pgd_eps2", "model-card", "plot"}


def test_defences_and_attacks_beside_the_others_rerun_nothing_that_exists(project):
    """Oblivious threats with and without a defence, an attack through it, Square, and the worst of one eps."""
    shared = {"eps": 4, "images": 10, "tuning_seeds": 1}
    jpeg = {"method": "jpeg", "quality": 75}
    pgd = {"method": "pgd", "objective": "margin", "steps": 2, "step_ratio": 1.0, "restarts": 2, "defence": jpeg}
    project.change(defences={"jpeg75": jpeg}, adaptive__jpeg_eps4={**pgd, **shared})
    project.change(adaptive__square_eps4={"method": "square", "queries": 5, "batch_size": 10, **shared})
    threats = ("pgd_eps8", "transfer_eps8")
    assert project.repro() == {
        *("defend-clean-jpeg75", "evaluate-defended-clean-jpeg75", "adapt-jpeg_eps4", "adapt-square_eps4"),
        *("model-card", "plot"),
        *(f"{stage}-{threat}-jpeg75" for stage in ("defend", "evaluate-defended") for threat in threats),
    }
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    defended = ["clean+jpeg75", "pgd_eps8+jpeg75", "transfer_eps8+jpeg75"]
    assert set(metrics) == {*("clean", *threats, *defended, "adaptive_eps4", "jpeg_eps4", "square_eps4", "worst_eps4")}
    for prompt in ("hand", "coop", "advpt", "advpt_refreshed"):
        found = {threat: metrics[threat][prompt]["accuracy"] for threat in metrics}
        assert found["worst_eps4"] <= min(found["adaptive_eps4"], found["square_eps4"])
    project.change(defences__jpeg75__quality=50, adaptive__jpeg_eps4__defence__quality=50)
    assert project.repro("adapt@fashion-square_eps4") == set()


def test_a_new_data_set_reruns_nothing_that_exists(project):
    project.change(datasets=["fashion", "fashion2"])
    names = project.repro()
    assert all("@fashion2" in name for name in names - {"plot"}) and "plot" in names and len(names) == 18
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert set(metrics) == {"fashion", "fashion2"}


def test_a_transfer_reruns_nothing_that_exists(project):
    """A data set without training images, judged with the contexts of another one."""
    pgd = yaml.load(project.folder / "params.yaml")["oblivious"]["pgd_eps8"]
    project.change(oblivious={"pgd_eps8": pgd}, test_only=["fashion2"])
    project.change(transfer={"sources": ["fashion"], "targets": ["fashion2"]})
    assert project.repro("--no-run-cache") == {
        *(f"{stage}-test-only@fashion2" for stage in ("fetch", "extract", "hand")),
        "craft-test-only@fashion2-pgd_eps8",
        "attach-fashion2",
        "evaluate-transfer-clean-fashion2",
        "evaluate-transfer-fashion2-pgd_eps8",
        "adapt-transfer-fashion2-adaptive_eps4",
        "model-card-transfer-fashion2",
        "model-card",
        "plot",
    }
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert set(metrics) == {"fashion", "fashion_to_fashion2"}
    for threat in ("clean", "pgd_eps8"):  # the same images: the moved context must do exactly what it did at home
        accuracy = {name: [line["accuracy"] for line in metrics[name][threat].values()] for name in metrics}
        assert accuracy["fashion_to_fashion2"] == accuracy["fashion"]


def test_a_surrogate_needs_training_images(project):
    project.change(test_only=["fashion2"])
    failed = project.fails("dvc", "repro", code=255)
    assert "craft-test-only@fashion2-transfer_eps8" in failed and "-S '~oblivious.transfer_eps8'" in failed
    assert "Traceback" not in failed


def test_halves_of_the_classes_rerun_nothing_that_exists(project):
    project.change(base_to_new=["fashion"])
    names = project.repro()
    assert names == {
        "tune-base",
        "tune-base-clean",
        "refresh-base",
        "attach-new",
        *(f"evaluate-half-clean-{half}" for half in ("base", "new")),
        *(f"evaluate-half-{half}-{threat}" for half in ("base", "new") for threat in ("pgd_eps8", "transfer_eps8")),
        *(f"adapt-half-{half}-adaptive_eps4" for half in ("base", "new")),
        *(f"model-card-half-{half}" for half in ("base", "new")),
        "plot",
    }
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    base, new, both = (metrics[f"fashion_{name}"]["clean"]["advpt"] for name in ("base", "new", "base_to_new"))
    assert base["n"] + new["n"] == metrics["fashion"]["clean"]["advpt"]["n"]
    assert min(base["accuracy"], new["accuracy"]) <= both["accuracy"] <= max(base["accuracy"], new["accuracy"])


def test_tuning_crafts_no_oblivious_image_again(project):
    project.change(tune__lr=0.02)
    assert project.repro() == {"tune-clean", "refresh", *PROMPTS_AND_ROWS}


def test_refreshing_reruns_nothing_of_the_paper_s_path(project):
    """Neither the bank nor AdvPT's and CoOp's prompts; with the start, what the first round attacks is a dependency."""
    project.change(refresh__objective="margin")
    before = project.lock()
    assert project.repro() == OF_REFRESHED
    assert digest_of(before, "advpt") == digest_of(project.lock(), "advpt")
    assert digest_of(before, "advpt_refreshed") != digest_of(project.lock(), "advpt_refreshed")
    project.change(refresh__start="advpt")
    assert project.repro() == OF_REFRESHED
    project.change(attack__eps=3)
    assert project.repro() == {"craft", "embed", "refresh", *PROMPTS_AND_ROWS}


def test_validation_images_come_from_the_training_split(project):
    """And the prompts that are judged by them are not tuned on them."""
    project.change(data__validation=0.25, data__test_images="all", adaptive={}, data__shots="all")
    project.repro("evaluate-clean")
    rows, _ = read_table(project.folder / "data/rows/fashion/clean.parquet")
    bank, _ = read_bank(project.folder / "data/bank/fashion/refreshed.parquet")
    judged = set(rows["id"].to_pylist())
    assert abs(len(judged) - 500) < 5 and all(id.startswith("train/") for id in judged) and not judged & set(bank.ids)


def digest_of(lock: str, prompt: str) -> str:
    """What dvc.lock says of the prompts that a stage has made."""
    return re.search(
        rf"outs:(?:(?!outs:).)*path: data/prompts/fashion/{prompt}\n\s+hash: md5\n\s+md5: (\S+)", lock, re.S
    )[1]


def test_what_editors_leave_beside_the_code_changes_nothing(project):
    """Nor is it in the way of a stage that looks at all code."""
    room = project.folder / "stages/report"
    left = [room / name for name in ("page.py~", ".page.py.swp", "#page.py#", ".DS_Store", ".#page.py")]
    for path in left[:-1]:
        path.touch()
    left[-1].symlink_to("somebody@somewhere.1")
    assert project.repro() == set()
    project.change(refresh__objective="runner_up")
    assert project.repro("refresh") == {"refresh"}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("attacks/rap.py", {"craft-test-pgd_eps8", "craft-test-transfer_eps8"}),
        ("report/page.py", {"plot"}),
        ("attacks/new.py", set()),
        ("params.py", set()),
    ],
)
def test_changed_code_reruns_what_imports_it(project, file, stages):
    """And nothing downstream, for what they make is the same."""
    with (project.folder / "stages" / file).open("a") as source:
        source.write("\n# changed\n")
    assert project.repro() == {"code", *stages}


def test_another_smallest_batch_reruns_what_adds_up_batches(project):
    """How images are split decides the last bit of sums, and from there where an attack goes."""
    source = project.folder / "stages/crafting/batching.py"
    changed = source.read_text().replace("SMALLEST_BATCH = 32", "SMALLEST_BATCH = 8")
    assert changed != source.read_text()
    source.write_text(changed)
    assert project.repro("code") == {"code"}
    status = json.loads(project.run("dvc", "status", "--json"))
    batchwise = {"extract", "craft", "embed", "refresh", "craft-test", "adapt", "assess"}
    assert {name.split("@")[0] for name in status} == batchwise


def test_code_that_is_imported_anew_counts(project):
    """What no stage has imported before is read where it is imported now."""
    (project.folder / "stages/attacks/new.py").write_text('"""New."""\n')
    script = project.folder / "stages/interpret.py"
    script.write_text(script.read_text().replace("from pathlib", "import stages.attacks.new\nfrom pathlib", 1))
    assert project.repro() == {"code", "words"}
    (project.folder / "stages/attacks/new.py").write_text('"""Changed."""\n')
    assert project.repro() == {"code", "words"}


def test_code_that_changes_behind_the_stage_code_is_refused(project):
    """Else DVC would keep what it makes as the result of the code from before."""
    script = project.folder / "stages/interpret.py"
    script.write_text(script.read_text() + "\n# changed\n")
    failed = project.fails("dvc", "repro", "--single-item", "--force", "words", code=255)
    assert (
        "stages/interpret.py: changed since the stage `code` has noted it; run `dvc repro -f -s code`, then `dvc repro`"
        in failed
    )
    assert "Traceback" not in failed
    assert project.repro() == {"code", "words"}
