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
from tests.micro import METHODS, OF_PIXELS, PIXELS, SUFFIXES, attacking, evaluating, judging, ran, yaml

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


def test_adding_a_method_runs_it_what_judges_it_and_the_report(project):
    """Two methods in one group; the new one is a row of the results like the others."""
    printed = project.run("dvc", "exp", "run", "-S", "+methods.tune_bank.half={clean_fraction: 0.5}")
    half = ("tune_bank", "half")
    assert ran(printed) == {"tune-bank-half", "interpret", *judging(*half), *REPORT}
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    assert all({"half", "advpt"} < set(methods) for methods in metrics.values())
    page = (project.folder / "reports/index.html").read_text()
    assert "half" in page and "half" in (project.folder / "data/model_cards/fashion/all.md").read_text()
    project.change(methods__tune_bank__half={"clean_fraction": 0.5, "label": "AdvPT, half clean"})
    assert project.repro() == {"tune-bank-half", "interpret", *REPORT}  # it runs again and makes the same bytes
    assert "AdvPT, half clean" in (project.folder / "reports/index.html").read_text()


def test_a_method_without_a_context_goes_through_everything(project):
    """Biases alone: evaluated, attacked, behind a defence, in the report and the card; not under other classes."""
    shared = yaml.load(ROOT / "params.yaml")["methods"]["refresh"]["class_bias"]
    project.change(
        methods__refresh__class_bias=shared | {"steps": 1, "rounds": 2, "epochs": 2},
        methods__defended={"bias_tte": {"method": "class_bias", "defence": {"kind": "tte", "shift": 2}}},
        methods__adversarial={"pixels": PIXELS["pixels"] | {"lr": 0.4}},  # its own, that no other test has cached
    )
    bias = ("refresh", "class_bias")
    defended = {"defend-bias_tte", "evaluate-defended-defended-bias_tte"}
    defended |= {"attack-adaptive-defended-defended-bias_tte-adaptive_eps4"}
    defended |= {*OF_PIXELS, "attack-adaptive-adversarial-adversarial-pixels-adaptive_eps4"}
    assert project.repro() == {"refresh-class_bias", "interpret", *judging(*bias), *defended, *REPORT}
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    assert all({"class_bias", "bias_tte"} < set(methods) for methods in metrics.values())
    for name in ("reports/index.html", "data/model_cards/fashion/all.md"):
        assert "class biases" in (project.folder / name).read_text()
    interpreted = [read_table(path)[0] for path in (project.folder / "data/interpretation/fashion").glob("*.parquet")]
    assert len(interpreted) == 4 and not any("class_bias" in str(table.to_pydict()) for table in interpreted)
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
        assert project.repro("zero-shot@fashion-all-zero_shot") == set()
    status = json.loads(project.run("dvc", "status", "--json"))
    assert {"extract@fashion", "craft@fashion", "embed@fashion", "assess@fashion"} <= set(status)
    save_file(tower, file)
    failed = project.fails("python", "-m", "stages.zero_shot", "fashion", "all", "zero_shot")
    assert f"tower.safetensors has digest {hashlib.sha256(file.read_bytes()).hexdigest()}" in failed
    file.unlink()


def prompts_of(project, method: str) -> Path:
    return project.folder / f"data/prompts/fashion/all/{method}/prompts.safetensors"


def test_removing_a_method_runs_the_report_alone(project):
    params = yaml.load(project.folder / "params.yaml")
    project.change(methods={**params["methods"], "tune_clean": {}})
    failed = project.fails("dvc", "repro", code=255)
    assert "methods.tune_bank.advpt.baseline: no other method 'coop'" in failed
    params["methods"]["tune_bank"]["advpt"].pop("baseline")
    project.change(methods={**params["methods"], "tune_clean": {}})
    ran_again = project.repro()
    assert ran_again == {"tune-bank-advpt", "interpret", *REPORT}
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    assert all("coop" not in methods for methods in metrics.values())


def test_changed_and_new_threats_rerun_themselves_and_what_reads_them(project):
    adaptive = {attacking(*method) for method in METHODS}
    project.change(adaptive__adaptive_eps4__eps=2)
    assert project.stale() - REPORT == adaptive
    eps2 = {"method": "feature_pgd", "objective": "kl", "eps": 2, "steps": 1, "step_ratio": 1.0}
    project.change(oblivious__pgd_eps8__steps=3, oblivious__pgd_eps2=eps2)
    attacks = {"attack-oblivious-pgd_eps8", "attack-oblivious-pgd_eps2"}
    assert project.repro() == {*adaptive, *attacks, *(evaluating(*method) for method in METHODS), *REPORT}


def test_a_defended_method_is_a_method_like_others(project):
    """Under all kinds of threats, and the worst of one eps; judged alone; behind it a context or an image prompt."""
    jpeg = {"kind": "jpeg", "quality": 75}
    project.change(
        methods__adversarial=PIXELS,
        methods__defended={name + "_jpeg": {"method": name, "defence": jpeg} for name in ("advpt", "pixels")},
        adaptive__square_eps4={
            "method": "square", "queries": 5, "batch_size": 10, "eps": 4, "images": 10, "tuning_seeds": 1,
        },
    )  # fmt: skip
    defended = ("advpt_jpeg", "pixels_jpeg")
    stages = {*OF_PIXELS, *REPORT, "interpret", *(f"defend-{name}" for name in defended)}
    stages |= {f"evaluate-defended-defended-{name}" for name in defended}
    for threat in ("adaptive_eps4", "square_eps4"):
        stages |= {f"attack-adaptive-defended-defended-{name}-{threat}" for name in defended}
        stages |= {f"attack-adaptive-adversarial-adversarial-pixels-{threat}"}
    stages |= {attacking(*method, "square_eps4") for method in METHODS}
    assert project.repro() == stages
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    assert set(metrics) == {"clean", "pgd_eps8", "transfer_eps8", "adaptive_eps4", "square_eps4", "worst_eps4"}
    for method in (*(name for _, name in METHODS), "pixels", *defended):
        found = {threat: metrics[threat][method]["accuracy"] for threat in metrics}
        assert found["worst_eps4"] <= min(found["adaptive_eps4"], found["square_eps4"])
    project.change(methods__refresh__advpt_refreshed__lr=0.01)
    assert project.stale() - REPORT == {"refresh-advpt_refreshed", "interpret"}
    through, behind = (
        load_prompts(project.folder / f"data/prompts/fashion/all/{name}/prompts.safetensors")
        for name in ("adversarial/pixels", "defended/pixels_jpeg")
    )
    np.testing.assert_array_equal(behind.pixels, through.pixels)
    assert behind.pixels.any() and behind.provenance["block"]["defence"] == jpeg
    project.change(methods__defended__advpt_jpeg__defence__quality=50)
    assert project.repro("attack-adaptive@fashion-all-zero_shot-zero_shot-square_eps4") == set()


ADVERSARIAL = {
    "adv_vp": {"kind": "adv_vp", "eps": [4], "epochs": 1, "tuning_seeds": 2, "lr": 0.5},
    "apt": {"kind": "apt", "eps": [4], "epochs": 2, "tuning_seeds": 1, "context_length": 4},
}


def test_adversarial_methods_are_methods_like_others(project):
    """Under all threats, in the report, and assessed."""
    project.change(methods__adversarial=ADVERSARIAL, assess__method="adversarial/adv_vp")
    stages = {f"evaluate-adversarial-adversarial-{name}" for name in ADVERSARIAL}
    stages |= {f"attack-adaptive-adversarial-adversarial-{name}-adaptive_eps4" for name in ADVERSARIAL}
    stages |= {f"adversarial-{name}" for name in ADVERSARIAL}
    assert project.repro() == {*stages, "assess", "interpret", *REPORT}
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())["fashion"]
    assert all(set(ADVERSARIAL) < set(methods) for methods in metrics.values())
    project.change(methods__adversarial__adv_vp__lr=0.6)
    assert project.repro("evaluate-adversarial") == {"adversarial-adv_vp", "evaluate-adversarial-adversarial-adv_vp"}


def test_pixel_prompts_travel_with_the_text_of_other_classes(project):
    """To another data set, where the same images are classified alike."""
    project.change(methods__adversarial=ADVERSARIAL, datasets=["fashion", "fashion2"])
    project.change(transfer={"sources": ["fashion"], "targets": ["fashion2"]})
    project.repro(
        "evaluate-adversarial@fashion-all-adversarial-adv_vp",
        "evaluate-transfer-adversarial@fashion2-fashion-adversarial-adv_vp",
        "attack-adaptive-transfer-adversarial@fashion2-fashion-adversarial-apt-adaptive_eps4",
    )
    own, other = (
        load_prompts(project.folder / f"data/prompts/{place}/adversarial/adv_vp/prompts.safetensors")
        for place in ("fashion/all", "fashion2/fashion")
    )
    assert np.array_equal(own.pixels, other.pixels) and np.array_equal(own.text_features, other.text_features)
    predictions = [
        read_table(project.folder / f"data/predictions/{place}/adversarial/adv_vp/oblivious.parquet")[0]["prediction"]
        for place in ("fashion/all", "fashion2/fashion")
    ]
    assert predictions[0].to_pylist() == predictions[1].to_pylist()


def test_a_transfer_reruns_nothing_that_exists(project):
    """A data set without training images, judged with the contexts of another one."""
    pgd = yaml.load(project.folder / "params.yaml")["oblivious"]["pgd_eps8"]
    project.change(oblivious={"pgd_eps8": pgd}, test_only=["fashion2"])
    project.change(transfer={"sources": ["fashion"], "targets": ["fashion2"]})
    names = project.repro("--no-run-cache")
    new = {name for name in names if "@fashion2" in name}
    assert names - new == {*(evaluating(*method) for method in METHODS), *REPORT}
    assert {name.split("@")[0] for name in new} == {
        *("fetch-test-only", "extract-test-only", "zero-shot-test-only", "zero-shot-transfer"),
        *("attack-oblivious-test-only", "model-card-transfer", "transfer", "transfer-bank", "transfer-refresh"),
        *(f"evaluate-transfer{group}" for group in ("", "-clean", "-bank", "-refresh")),
        *(f"attack-adaptive-transfer{group}" for group in ("", "-clean", "-bank", "-refresh")),
    }
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert set(metrics) == {"fashion", "fashion_to_fashion2"}
    for threat in ("clean", "pgd_eps8"):  # the same images: the moved context must do exactly what it did at home
        accuracy = {name: [line["accuracy"] for line in metrics[name][threat].values()] for name in metrics}
        assert accuracy["fashion_to_fashion2"] == accuracy["fashion"]


def test_a_surrogate_needs_training_images(project):
    project.change(test_only=["fashion2"])
    failed = project.fails("dvc", "repro", code=255)
    assert "attack-oblivious-test-only@fashion2-transfer_eps8" in failed and "-S '~oblivious.transfer_eps8'" in failed
    assert "Traceback" not in failed


def test_halves_of_the_classes_rerun_nothing_that_exists(project):
    project.change(base_to_new=["fashion"])
    names = project.repro()
    judged = {
        f"{stage}-halves{SUFFIXES[group]}-{half}-{group}-{method}{threat}"
        for stage, threat in (("evaluate", ""), ("attack-adaptive", "-adaptive_eps4"))
        for half in ("base", "new")
        for group, method in METHODS
    }
    assert names == judged | {
        *("zero-shot-halves-base-zero_shot", "zero-shot-halves-new-zero_shot"),
        *("tune-clean-base-base-coop", "tune-bank-base-base-advpt", "refresh-base-base-advpt_refreshed"),
        *("transfer-new-new-tune_clean-coop", "transfer-new-bank-new-tune_bank-advpt"),
        *(
            "transfer-new-refresh-new-refresh-advpt_refreshed",
            "model-card-halves-base",
            "model-card-halves-new",
            "plot",
        ),
    }
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    base, new, both = (metrics[f"fashion_{name}"]["clean"]["advpt"] for name in ("base", "new", "base_to_new"))
    assert base["n"] + new["n"] == metrics["fashion"]["clean"]["advpt"]["n"]
    assert min(base["accuracy"], new["accuracy"]) <= both["accuracy"] <= max(base["accuracy"], new["accuracy"])


def test_tuning_crafts_no_oblivious_image_again(project):
    project.change(tune__lr=0.02)
    assert project.stale() - REPORT == {"tune-clean-coop", "tune-bank-advpt", "refresh-advpt_refreshed"}


def test_validation_images_come_from_the_training_split(project):
    """And the methods that are judged by them are not tuned on them."""
    project.change(data__validation=0.25, data__test_images="all", oblivious={}, adaptive={})
    project.repro("evaluate-refresh@fashion-all-refresh-advpt_refreshed")
    rows, _ = read_table(project.folder / "data/predictions/fashion/all/refresh/advpt_refreshed/oblivious.parquet")
    bank, _ = read_bank(project.folder / "data/refreshed/fashion/all/advpt_refreshed.parquet")
    judged = set(rows["id"].to_pylist())
    assert abs(len(judged) - 500) < 5 and all(id.startswith("train/") for id in judged) and not judged & set(bank.ids)


def test_what_editors_leave_beside_the_code_changes_nothing(project):
    room = project.folder / "stages/report"
    left = [room / name for name in ("page.py~", ".page.py.swp", "#page.py#", ".DS_Store", ".#page.py")]
    for path in left[:-1]:
        path.touch()
    left[-1].symlink_to("somebody@somewhere.1")
    (room / "__pycache__").mkdir(exist_ok=True)
    (room / "__pycache__/page.cpython-39.pyc").touch()
    assert project.repro() == set()


def test_changed_code_reruns_what_imports_it(project):
    """And nothing downstream, for what they make is the same."""
    for files, stages in (
        (("interpretation/pca.py", "runtime/params.py", "predict.py"), {"interpret"}),
        (("report/page.py",), REPORT),
    ):
        for file in files:
            with (project.folder / "stages" / file).open("a") as source:
                source.write("\n# changed\n")
        assert project.repro() == stages


def test_dvc_tells_the_truth_after_an_edit_of_code(project):
    """`dvc status`, `dvc repro --dry` and `dvc repro -s` of the stage itself."""
    with (project.folder / "stages/attacks/pgd.py").open("a") as source:
        source.write("\n# changed\n")
    attackers = {"craft", "refresh", "attack-oblivious", "attack-adaptive", "assess"}
    status = json.loads(project.run("dvc", "status", "--json"))
    assert {re.sub("-(clean|bank|refresh)$", "", name.split("@")[0]) for name in status} == attackers
    assert "craft" in ran(project.run("dvc", "repro", "--dry"))
    assert project.repro("-s", "craft@fashion") == {"craft"}


def test_another_smallest_batch_reruns_what_adds_up_batches(project):
    """How images are split decides the last bit of sums, and from there where an attack goes."""
    source = project.folder / "stages/crafting/batching.py"
    changed = source.read_text().replace("SMALLEST_BATCH = 32", "SMALLEST_BATCH = 8")
    assert changed != source.read_text()
    source.write_text(changed)
    status = json.loads(project.run("dvc", "status", "--json"))
    batchwise = {"extract", "craft", "embed", "refresh", "attack-oblivious", "attack-adaptive", "assess"}
    assert {re.sub("-(clean|bank|refresh)$", "", name.split("@")[0]) for name in status} == batchwise


TRAVELLERS = {
    "adv_vp": {"lr": 0.5},
    "adv_vpt": {"lr": 1.0, "tokens": 4},
    "moapt": {"text_lr": 0.1, "batch_size": 50, "warmup_epochs": 0},
    "fap": {"lr": 1.0, "tokens": 4, "text_lr": 1.0, "batch_size": 50, "depth": 2, "warmup_epochs": 0},
}


@pytest.mark.parametrize("kind", TRAVELLERS)
def test_prompts_of_the_image_are_judged_seed_by_seed_and_travel(project, kind):
    """On the embedded ViT: each seed has prompts of its own, and new classes are met with those of the base."""
    vit = "local-dir:data/embedded/tiny-vit"
    block = {"kind": kind, "eps": [4], "epochs": 1, "tuning_seeds": 2, **TRAVELLERS[kind]}
    project.change(
        model__name=vit, model__sha256=weights_digest(vit, None), methods__adversarial={"tuned": block},
        base_to_new=["fashion"],
    )  # fmt: skip
    project.repro(
        "evaluate-adversarial@fashion-all-adversarial-tuned",
        "evaluate-halves-adversarial@fashion-new-adversarial-tuned",
    )
    base, new = (
        load_prompts(project.folder / f"data/prompts/fashion/{half}/adversarial/tuned/prompts.safetensors")
        for half in ("base", "new")
    )
    learnt = [
        name for name in ("pixels", "tokens", "projection", "context", "router") if getattr(base, name) is not None
    ]
    assert learnt and all(np.array_equal(getattr(base, name), getattr(new, name)) for name in learnt)
    assert new.text_features.shape == base.text_features.shape and (new.text_features != base.text_features).any()
    images = read_all_images(project.folder / "data/images/fashion/test/clean")
    rows = read_table(project.folder / "data/predictions/fashion/all/adversarial/tuned/oblivious.parquet")[0]
    rows = rows.to_pandas().query("threat == 'clean'")
    for seed in range(2):
        with chdir(project.folder):
            victim = load_victim("data/prompts/fashion/all/adversarial/tuned", seed=seed, device="cpu")
        with torch.no_grad():
            found = victim(to_tensor(images.pixels, torch.device("cpu"))).argmax(-1).tolist()
        assert rows[rows["seed"] == seed]["prediction"].tolist() == found
