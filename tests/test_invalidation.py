"""What runs again when something changes: DVC on the micro project, by the names of the stages that ran."""

import hashlib
import json
import re
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import load_victim
from stages.models.clip import weights_digest
from stages.models.device import to_tensor
from stages.storage.embeddings import read_bank
from stages.storage.images import read_all_images
from stages.storage.parquet import read_table
from stages.storage.prompts import load_prompts
from tests.imports import ROOT
from tests.micro import METHODS, PIXELS, SUFFIXES, attacking, evaluating, judging, ran, yaml

ADVPT, REFRESHED = ("tune_bank", "advpt"), ("refresh", "advpt_refreshed")
REPORT = {"model-card", "plot"}
OF_ADVPT = {"tune-bank-advpt", "assess", "interpret", *judging(*ADVPT), *REPORT}
OF_REFRESHED = {"refresh-advpt_refreshed", "interpret", *judging(*REFRESHED), *REPORT}


def test_another_eps_of_the_bank_reruns_what_depends_on_it(project):
    """Methods that the bank did not touch are not attacked again."""
    printed = project.run("dvc", "exp", "run", "-n", "eps4", "-S", "attack.eps=4")
    assert ran(printed) == {"craft", "embed", *OF_ADVPT}
    changes = json.loads(project.run("dvc", "metrics", "diff", "--json"))
    assert any("advpt" in key for metrics in changes.values() for key in metrics)
    project.run("dvc", "plots", "diff", "HEAD", "eps4", "-o", "compared")
    page = (project.folder / "compared/index.html").read_text()
    assert "eps4" in page and "accuracy.csv" in page


JPEG = {"kind": "jpeg", "quality": 75}
NEW = {  # by group: biases alone, which are no context, image prompts, and defences before all of these
    "tune_bank": {"half": {"clean_fraction": 0.5}},
    "refresh": {"class_bias": {"steps": 1, "rounds": 2, "epochs": 2}},
    "adversarial": {
        "adv_vp": {"kind": "adv_vp", "eps": [4], "epochs": 1, "tuning_seeds": 2, "lr": 0.5},
        "apt": {"kind": "apt", "eps": [4], "epochs": 2, "tuning_seeds": 1, "context_length": 4},
    },
    "defended": {
        "advpt_bits": {"method": "advpt", "defence": {"kind": "bits", "bits": 3}},  # 3: of no other test
        "adv_vp_jpeg": {"method": "adv_vp", "defence": JPEG},
        "bias_tte": {"method": "class_bias", "defence": {"kind": "tte", "shift": 2}},
    },
}


@pytest.mark.reliability
def test_new_methods_and_threats_are_like_others(project):
    """Of every group, under all threats and the worst of one eps, in the report and the card; nothing else runs."""
    shared = yaml.load(ROOT / "params.yaml")["methods"]["refresh"]["class_bias"]
    NEW["refresh"]["class_bias"] = shared | NEW["refresh"]["class_bias"]
    for group, methods in NEW.items():
        project.change(**{f"methods__{group}__{name}": block for name, block in methods.items()})
    square = {"method": "square", "queries": 5, "batch_size": 10, "eps": 4, "images": 10, "tuning_seeds": 1}
    project.change(adaptive__square_eps4=square, assess__method="adversarial/adv_vp")
    new = [(group, name) for group, methods in NEW.items() for name in methods]
    made = {"tune-bank-half", "refresh-class_bias", *(f"adversarial-{name}" for name in NEW["adversarial"])}
    made |= {f"defend-{name}" for name in NEW["defended"]}
    judged = set().union(*(judging(*method) for method in new))
    judged |= {attacking(*method, "square_eps4") for method in (*METHODS, *new)}
    assert project.repro() == {*made, *judged, "assess", "interpret", *REPORT}
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    assert set(metrics) == {"clean", "pgd_eps8", "transfer_eps8", "adaptive_eps4", "square_eps4", "worst_eps4"}
    names = {name for _, name in (*METHODS, *new)}
    assert all(set(methods) == names for methods in metrics.values())
    for method in names:
        found = {threat: metrics[threat][method]["accuracy"] for threat in metrics}
        assert found["worst_eps4"] <= min(found["adaptive_eps4"], found["square_eps4"])
    for name in ("reports/index.html", "data/model_cards/fashion/all.md"):
        text = (project.folder / name).read_text()
        assert "class biases" in text and "half" in text
    interpreted = [read_table(path)[0] for path in (project.folder / "data/interpretation/fashion").glob("*.parquet")]
    assert len(interpreted) == 4 and not any("class_bias" in str(table.to_pydict()) for table in interpreted)
    through, behind = (load_prompts(prompts_of(project, one)) for one in ("adversarial/adv_vp", "defended/adv_vp_jpeg"))
    np.testing.assert_array_equal(behind.pixels, through.pixels)
    assert behind.pixels.any() and behind.provenance["block"]["defence"] == JPEG

    project.change(methods__tune_bank__half={"clean_fraction": 0.5, "label": "AdvPT, half clean"})
    assert project.repro() == {"tune-bank-half", "interpret", *REPORT}  # it runs again and makes the same bytes
    assert "AdvPT, half clean" in (project.folder / "reports/index.html").read_text()
    project.change(methods__refresh__advpt_refreshed__lr=0.01, methods__defended__advpt_bits__defence__bits=5)
    project.change(methods__adversarial__adv_vp__lr=0.6)
    changed = {"refresh-advpt_refreshed", "defend-advpt_bits", "adversarial-adv_vp"}
    assert project.stale() == {*changed, "interpret", *REPORT}
    project.change(base_to_new=["fashion"])
    assert "-S '~methods.refresh.class_bias'" in project.fails("dvc", "repro", code=255)


def test_another_image_tower_reruns_what_reads_the_model_and_goes_into_what_it_makes(project):
    """By its digest: a file that changes under the same one is refused."""
    weights = load_file(project.folder / "data/embedded/tiny-clip/open_clip_model.safetensors")
    tower = {name.removeprefix("visual."): weight for name, weight in weights.items() if name.startswith("visual.")}
    name, file = "zero-shot-zero_shot", project.folder / "tower.safetensors"
    for factor in (1.0, 0.5):
        save_file({**tower, "attnpool.c_proj.bias": factor * tower["attnpool.c_proj.bias"]}, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        project.change(model__visual_weights=file.name, model__visual_sha256=digest)
        assert project.repro("zero-shot@fashion-all-zero_shot") == {name}
        made_by = load_prompts(prompts_of(project, "zero_shot/zero_shot")).provenance["model"]
        assert (made_by["visual_weights"], made_by["visual_sha256"]) == (file.name, digest)
    stale = project.stale()
    assert {"extract", "craft", "embed", "assess"} <= stale and name not in stale
    save_file(tower, file)
    failed = project.fails("python", "-m", "stages.zero_shot", "fashion", "all", "zero_shot")
    assert f"tower.safetensors has digest {hashlib.sha256(file.read_bytes()).hexdigest()}" in failed
    file.unlink()


def prompts_of(project, method: str) -> Path:
    return project.folder / f"data/prompts/fashion/all/{method}/prompts.safetensors"


def test_removing_a_method_runs_the_report_and_what_names_it(project):
    params = yaml.load(project.folder / "params.yaml")
    project.change(methods={**params["methods"], "tune_clean": {}})
    failed = project.fails("dvc", "repro", code=255)
    assert "methods.tune_bank.advpt.baseline: no other method 'coop'" in failed
    params["methods"]["tune_bank"]["advpt"].pop("baseline")
    project.change(methods={**params["methods"], "tune_clean": {}})
    assert project.stale() == {"tune-bank-advpt", "interpret", *REPORT}


def test_changed_and_new_threats_rerun_themselves_and_what_reads_them(project):
    project.change(adaptive__adaptive_eps4__eps=2)
    adaptive = {attacking(*method) for method in METHODS}
    assert project.stale() == adaptive | REPORT
    eps2 = {"method": "feature_pgd", "objective": "kl", "eps": 2, "steps": 1, "step_ratio": 1.0}
    project.change(oblivious__pgd_eps8__steps=3, oblivious__pgd_eps2=eps2)
    attacks = {"attack-oblivious-pgd_eps8", "attack-oblivious-pgd_eps2"}
    assert project.stale() == {*adaptive, *attacks, *(evaluating(*method) for method in METHODS), *REPORT}


def test_tuning_crafts_no_oblivious_image_again(project):
    project.change(tune__lr=0.02)
    assert project.stale() - REPORT == {"tune-clean-coop", "tune-bank-advpt", "refresh-advpt_refreshed"}


@pytest.mark.reliability
def test_the_number_of_images_of_a_split_reruns_what_reads_this_split(project):
    """Other test images tune no method again; other training images attack none again that is not tuned on them."""
    targets = ["attack-adaptive@fashion-all-zero_shot-zero_shot-adaptive_eps4", "tune-bank@fashion-all-advpt"]
    project.change(data__test_images=30)
    assert project.repro(*targets) == {"extract", attacking("zero_shot", "zero_shot")}
    project.change(data__shots=3)
    assert project.repro(*targets) == {"extract", "craft", "embed", "tune-bank-advpt"}


@pytest.mark.reliability
def test_other_classes_rerun_nothing_that_exists(project):
    """The contexts on a data set without training images, and those of half of the classes on the other half."""
    pgd = yaml.load(project.folder / "params.yaml")["oblivious"]["pgd_eps8"]
    project.change(oblivious={"pgd_eps8": pgd}, methods__adversarial={"pixels": PIXELS["pixels"] | {"lr": 0.4}})
    project.change(test_only=["fashion2"], transfer={"sources": ["fashion"], "targets": ["fashion2"]})
    project.change(base_to_new=["fashion"])
    names = project.repro("--no-run-cache")
    pixels = ("adversarial", "pixels")
    suffixes = ("", "-clean", "-bank", "-refresh", "-adversarial")
    other = {name for name in names if "@fashion2" in name}
    assert {name.split("@")[0] for name in other} == {
        *("fetch-test-only", "extract-test-only", "zero-shot-test-only", "zero-shot-transfer"),
        *("attack-oblivious-test-only", "model-card-transfer"),
        *("transfer", "transfer-bank", "transfer-refresh", "transfer-adversarial"),
        *(f"{stage}-transfer{suffix}" for stage in ("evaluate", "attack-adaptive") for suffix in suffixes),
    }
    halves = {
        f"{stage}-halves{SUFFIXES[group]}-{half}-{group}-{method}{threat}"
        for stage, threat in (("evaluate", ""), ("attack-adaptive", "-adaptive_eps4"))
        for half in ("base", "new")
        for group, method in (*METHODS, pixels)
    } | {
        *("zero-shot-halves-base-zero_shot", "zero-shot-halves-new-zero_shot"),
        *("tune-clean-base-base-coop", "tune-bank-base-base-advpt", "refresh-base-base-advpt_refreshed"),
        *("adversarial-base-base-pixels", "transfer-new-adversarial-new-adversarial-pixels"),
        *("transfer-new-new-tune_clean-coop", "transfer-new-bank-new-tune_bank-advpt"),
        *("transfer-new-refresh-new-refresh-advpt_refreshed", "model-card-halves-base", "model-card-halves-new"),
    }
    old = {*(evaluating(*method) for method in METHODS), "adversarial-pixels", *judging(*pixels), "interpret", *REPORT}
    assert names == other | halves | old

    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    parts = {f"fashion_{name}" for name in ("base", "new", "base_to_new")}
    assert set(metrics) == {"fashion", "fashion_to_fashion2", *parts}
    for threat in ("clean", "pgd_eps8"):  # the same images: what was moved must do exactly what it did at home
        accuracy = {name: [line["accuracy"] for line in metrics[name][threat].values()] for name in metrics}
        assert accuracy["fashion_to_fashion2"] == accuracy["fashion"]
    base, new, both = (metrics[f"fashion_{name}"]["clean"]["advpt"] for name in ("base", "new", "base_to_new"))
    assert base["n"] + new["n"] == metrics["fashion"]["clean"]["advpt"]["n"]
    assert min(base["accuracy"], new["accuracy"]) <= both["accuracy"] <= max(base["accuracy"], new["accuracy"])
    own, moved = (
        load_prompts(project.folder / f"data/prompts/{place}/adversarial/pixels/prompts.safetensors")
        for place in ("fashion/all", "fashion2/fashion")
    )
    assert np.array_equal(own.pixels, moved.pixels) and np.array_equal(own.text_features, moved.text_features)
    predictions = [
        read_table(project.folder / f"data/predictions/{place}/adversarial/pixels/oblivious.parquet")[0]["prediction"]
        for place in ("fashion/all", "fashion2/fashion")
    ]
    assert predictions[0].to_pylist() == predictions[1].to_pylist()


def test_a_surrogate_needs_training_images(project):
    project.change(test_only=["fashion2"])
    failed = project.fails("dvc", "repro", code=255)
    assert "attack-oblivious-test-only@fashion2-transfer_eps8" in failed and "-S '~oblivious.transfer_eps8'" in failed
    assert "Traceback" not in failed


def test_validation_images_come_from_the_training_split(project):
    """And the methods that are judged by them are not tuned on them."""
    project.change(data__validation=0.1, data__test_images="all", oblivious={}, adaptive={})
    project.repro("evaluate-refresh@fashion-all-refresh-advpt_refreshed")
    rows, _ = read_table(project.folder / "data/predictions/fashion/all/refresh/advpt_refreshed/oblivious.parquet")
    bank, _ = read_bank(project.folder / "data/refreshed/fashion/all/advpt_refreshed.parquet")
    judged = set(rows["id"].to_pylist())
    assert abs(len(judged) - 200) < 5 and all(id.startswith("train/") for id in judged) and not judged & set(bank.ids)


def test_what_editors_leave_beside_the_code_changes_nothing(project):
    room = project.folder / "stages/report"
    left = [room / name for name in ("page.py~", ".page.py.swp", "#page.py#", ".DS_Store", ".#page.py")]
    for path in left[:-1]:
        path.touch()
    left[-1].symlink_to("somebody@somewhere.1")
    (room / "__pycache__").mkdir(exist_ok=True)
    (room / "__pycache__/page.cpython-39.pyc").touch()
    assert project.stale() == set()


def edit(project, *files: str) -> None:
    for file in files:
        with (project.folder / "stages" / file).open("a") as source:
            source.write("\n# changed\n")


def test_changed_code_reruns_what_imports_it(project):
    """And nothing downstream, for what they make is the same."""
    edit(project, "interpretation/pca.py", "runtime/params.py", "predict.py")
    assert project.repro() == {"interpret"}
    edit(project, "report/page.py")
    assert project.stale() == REPORT
    edit(project, "datasets/catalogue.py")
    assert project.stale() == REPORT | {"fetch"}


def test_a_changed_default_reruns_the_methods_that_may_have_it(project):
    project.change(methods__adversarial=PIXELS, methods__defended={"jpeg": {"method": "advpt", "defence": JPEG}})
    project.repro()
    edit(project, "runtime/method_blocks.py")
    assert project.stale() == {"adversarial-pixels", "defend-jpeg"}


def test_dvc_tells_the_truth_after_an_edit_of_code(project):
    """`dvc status`, `dvc repro --dry` and `dvc repro -s` of the stage itself.

    How images are split into batches decides the last bit of sums, and from there where an attack goes.
    """
    attackers = {"craft", "refresh", "attack-oblivious", "attack-adaptive", "assess"}
    for file, stages in (
        ("crafting/batching.py", {*attackers, "extract", "embed"}),
        ("attacks/pgd.py", attackers),
    ):
        edit(project, file)
        status = json.loads(project.run("dvc", "status", "--json"))
        assert {re.sub("-(clean|bank|refresh)$", "", name.split("@")[0]) for name in status} == stages
        if file != "attacks/pgd.py":
            project.run("git", "checkout", "-q", ".")
    assert "craft" in ran(project.run("dvc", "repro", "--dry"))
    assert project.repro("-s", "craft@fashion") == {"craft"}


TRAVELLERS = {
    "apt": {"context_length": 4, "warmup_epochs": 0},
    "adv_vp": {"lr": 0.5},
    "adv_vpt": {"lr": 1.0, "tokens": 4},
    "moapt": {"text_lr": 0.1, "batch_size": 50, "warmup_epochs": 0},
    "fap": {"lr": 1.0, "tokens": 4, "text_lr": 1.0, "batch_size": 50, "depth": 2, "warmup_epochs": 0},
}


@pytest.mark.reliability
def test_adversarial_prompts_are_judged_seed_by_seed_and_travel(project):
    """On the embedded ViT: each seed has prompts of its own, and new classes are met with those of the base."""
    vit = "local-dir:data/embedded/tiny-vit"
    shared = {"eps": [4], "epochs": 1, "tuning_seeds": 2}
    blocks = {kind: {"kind": kind, **shared, **about} for kind, about in TRAVELLERS.items()}
    project.change(
        model__name=vit, model__sha256=weights_digest(vit, None), methods__adversarial=blocks, base_to_new=["fashion"]
    )
    names = [f"evaluate-adversarial@fashion-all-adversarial-{kind}" for kind in TRAVELLERS]
    names += [f"evaluate-halves-adversarial@fashion-new-adversarial-{kind}" for kind in TRAVELLERS]
    project.repro(*names)
    images = read_all_images(project.folder / "data/images/fashion/test/clean")
    for kind in TRAVELLERS:
        base, new = (
            load_prompts(project.folder / f"data/prompts/fashion/{half}/adversarial/{kind}/prompts.safetensors")
            for half in ("base", "new")
        )
        learnt = [
            name for name in ("pixels", "tokens", "projection", "context", "router") if getattr(base, name) is not None
        ]
        assert learnt and all(np.array_equal(getattr(base, name), getattr(new, name)) for name in learnt)
        assert new.text_features.shape == base.text_features.shape and (new.text_features != base.text_features).any()
        rows = read_table(project.folder / f"data/predictions/fashion/all/adversarial/{kind}/oblivious.parquet")[0]
        rows = rows.to_pandas().query("threat == 'clean'")
        for seed in range(2):
            with chdir(project.folder):
                victim = load_victim(f"data/prompts/fashion/all/adversarial/{kind}", seed=seed, device="cpu")
            with torch.no_grad():
                found = victim(to_tensor(images.pixels, torch.device("cpu"))).argmax(-1).tolist()
            assert rows[rows["seed"] == seed]["prediction"].tolist() == found
