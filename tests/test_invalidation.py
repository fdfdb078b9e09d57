"""What runs again when something changes: DVC on the micro project, by the names of the stages that ran."""

import json

from tests.micro import ran

PROMPTS_AND_ROWS = {
    "tune",
    "evaluate-clean",
    "evaluate-pgd_eps8",
    "evaluate-transfer_eps8",
    "adapt-adaptive_eps4",
    "plot",
}


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
    assert project.repro() == {"craft-test-pgd_eps8", "embed-test-pgd_eps8", "evaluate-pgd_eps8", "plot"}


def test_one_adaptive_threat_reruns_itself_and_the_report(project):
    project.change(adaptive__adaptive_eps4__eps=2)
    assert project.repro() == {"adapt-adaptive_eps4", "plot"}


def test_a_new_threat_reruns_nothing_that_exists(project):
    project.change(
        oblivious__pgd_eps2={"method": "feature_pgd", "objective": "kl", "eps": 2, "steps": 1, "step_ratio": 1.0}
    )
    assert project.repro() == {"craft-test-pgd_eps2", "embed-test-pgd_eps2", "evaluate-pgd_eps2", "plot"}


def test_a_new_data_set_reruns_nothing_that_exists(project):
    project.change(datasets=["fashion", "fashion2"])
    names = project.repro()
    assert all("@fashion2" in name for name in names - {"plot"}) and "plot" in names and len(names) == 16
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert set(metrics) == {"fashion", "fashion2"}


def test_tuning_crafts_no_oblivious_image_again(project):
    project.change(tune__lr=0.02)
    assert project.repro() == {"tune-clean", *PROMPTS_AND_ROWS}
