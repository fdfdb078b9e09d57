"""README.md and docs/: their tables are those of the committed results, their commands, links and files exist."""

import importlib
import importlib.util
import inspect
import os
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path
from subprocess import check_output
from typing import NamedTuple

import numpy as np
import pytest
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
from ruamel.yaml import YAML

from reports.studies import readme
from stages.entries.presets import PRESETS, read_preset
from stages.runtime.params import load_params
from stages.storage.layout import prompts_file
from stages.storage.prompts import PromptFile, save_prompts
from tests.imports import ROOT

DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")),
    "presets/README.md",
    "data/embedded/README.md",
]
NEEDS = "# needs "  # opens the comment above a command that needs what is not in the repository
OURS = {"fashion", "fashion_second"}
TOOLS = {"leaderboard", "predict", "preset", "rescore", "submit", "verify"}  # scripts in stages/ that are no stages
RUN_BY = {  # how a command begins that needs nothing more, the file that runs it, and what stands there
    "dvc repro": (".ci/run", "main-job"),
    "pip install -e": (".ci/run", "pip install"),
    "pytest": (".ci/run", "reliability-tests"),
    "ruff": (".ci/run", "ruff"),
    "mypy": (".ci/run", "mypy"),
    "lint-imports": (".ci/run", "lint-imports"),
    "python -m venv": (".ci/run", "environment"),
    "source .venv": (".ci/run", "environment"),
    "git apply": ("tests/test_contributing.py", '"git", "apply"'),
    "dvc exp run --queue": ("tests/reliability/test_recipes.py", "recipe.words"),
    "dvc exp run": ("tests/reliability/test_recipes.py", "recipe.words"),
    "dvc exp show": ("tests/reliability/test_recipes.py", '"dvc", "exp", "show"'),
    "dvc metrics diff": ("tests/test_invalidation.py", '"dvc", "metrics", "diff"'),
    "dvc plots diff": ("tests/test_invalidation.py", '"dvc", "plots", "diff"'),
    "python -m reports.studies.readme": ("tests/test_readme.py", "readme.with_tables"),
    "python -m stages.fetch": ("tests/runtime/test_params.py", '"stages.fetch"'),
    "python -m stages.verify": ("tests/entries/test_submit.py", '"stages.verify"'),
    "python -m stages.rescore": ("tests/entries/test_command_lines.py", "rescore"),
    "python -m stages.submit": ("tests/entries/test_submit.py", '"stages.submit"'),
    "python -m stages.leaderboard": ("tests/entries/test_command_lines.py", "leaderboard"),
    "python -m stages.preset": ("tests/entries/test_presets.py", '"stages.preset"'),
    "cd FOLDER": ("tests/models/test_digests.py", "docs/reproducibility.md"),
    "sha256sum": ("tests/models/test_digests.py", "docs/reproducibility.md"),
}
yaml = YAML(typ="safe")


class Command(NamedTuple):
    """A command of a document, and what a comment above it says that it needs."""

    document: str
    words: list[str]
    needs: str

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(document), re.DOTALL)


def commands() -> list[Command]:
    """Every command of every block of bash; `a && b` are two."""
    found = []
    for document in DOCUMENTS:
        for block in blocks(document, "bash"):
            needs = ""
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("#"):
                    needs = line.removeprefix(NEEDS) if line.startswith(NEEDS) else ""
                    continue
                for part in re.split(r"&&|\|", line):
                    words = shlex.split(part, comments=True)
                    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                        words = words[1:]
                    found.append(Command(document, words, needs))
    return found


def commands_of(*start: str) -> list[Command]:
    return [command for command in commands() if tuple(command.words[: len(start)]) == start]


def committed(path: str) -> str:
    """A file as committed; a run on another kind of processor may have changed that in the working tree."""
    return check_output(["git", "show", f"HEAD:{path}"], cwd=ROOT, text=True)


@pytest.mark.parametrize("command", [one for one in commands() if not one.needs], ids=str)
def test_each_command_is_run_by_a_test_or_says_what_it_needs(command):
    if "runtime.engine=ray" in command.words:
        return  # by tests/reliability/test_ray.py
    (path, text), *_ = [where for start, where in RUN_BY.items() if " ".join(command.words).startswith(start)]
    assert text in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", readme.DOCUMENTS)
def test_tables_are_those_of_the_committed_results(document):
    text = text_of(document)
    assert text == readme.with_tables(document, text, committed), "run `python -m reports.studies.readme`"


def test_a_document_without_a_place_for_a_table_is_named():
    with pytest.raises(ValueError, match=r"README\.md: no place for the table results"):
        readme.with_tables("README.md", "<!-- results -->\nits end is missing")


HEAD = "dataset,threat,knowledge,method,accuracy,low,high,std,n,seeds,clean_accuracy,p_reference,p_baseline"
METHODS = [method.name for method in load_params().methods.all()]


def results(n: int, gain: float) -> list[str]:
    """The lines of the table in README.md for made-up results, with n images under the adaptive attack."""
    lines = [HEAD]
    for method in METHODS:
        p = "" if method == "zero_shot" else "0.04" if method == "advpt" else "0.05"
        lost = 0.1 * (method == "advpt")
        lines.append(f"fashion,clean,clean,{method},{0.9 - lost},0.88,0.92,0.01,1000,3,0.9,{p},")
        for eps, kept in ((4, 0.4), (8, 0.2)):
            lines.append(f"fashion,pgd_eps{eps},oblivious,{method},{kept - lost},0.18,0.22,,1000,1,0.9,{p},")
            lines.append(f"fashion,adaptive_eps{eps},adaptive,{method},{kept - 0.05 - lost},0.1,0.4,,{n},1,0.85,{p},")
    classes = ["dataset,threat,class,method,n,accuracy,gain"]
    classes += [f"fashion,clean,a &amp; b,{method},100,0.5,{gain if method == 'advpt' else 0}" for method in METHODS]
    classes += [f"fashion,pgd_eps8,c,{method},100,0.5,-0.9" for method in METHODS]
    files = {"reports/accuracy.csv": "\n".join(lines), "reports/classes.csv": "\n".join(classes)}
    return readme.results(files.__getitem__).splitlines()


def test_the_table_marks_subsets_and_noise_and_names_the_price():
    head, _, zero_shot, coop, advpt, *_, notes = results(200, -0.3)
    assert "clean, n = 1000 |" in head and "eps 8, oblivious, n = 1000 | eps 8, adaptive, n = 200† |" in head
    assert zero_shot == "| hand-written | 90.0 ± 1.0 | 40.0 | 35.0, clean 85.0 | 20.0 | 15.0 | - |"
    assert coop == "| CoOp | 90.0 ± 1.0° | 40.0° | 35.0°, clean 85.0 | 20.0° | 15.0° | - |"
    assert advpt == "| AdvPT | 80.0 ± 1.0 | 30.0 | 25.0, clean 85.0 | 10.0 | 5.0 | a & b 80.0 → 50.0 |"
    assert "†: 200 of 1000 test images" in notes


def test_the_table_marks_no_subset_where_there_is_none_and_no_small_price():
    table = results(1000, -0.2)
    assert "†" not in "".join(table) and "clean 85.0" not in "".join(table)
    assert table[4].endswith("| - |")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings(document):
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    text = re.sub(r"```diff.*?```", "", text_of(document), flags=re.DOTALL)
    names = re.findall(r"`((?:stages|tests|docs|data/embedded|reports|\.ci|\.github)/[\w./-]+)`", text)
    made = set(re.findall(r"^\+\+\+ b/(.*)$", text_of(document), re.MULTILINE))
    assert [name for name in names if not (ROOT / name).exists() and name not in made] == []


def test_every_page_can_be_reached_from_the_readme():
    assert {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} <= set(
        re.findall(r"\((docs/[\w.-]+)\)", text_of("README.md"))
    )


def test_the_table_of_stages_is_that_of_the_graph():
    rows = re.findall(r"^\| (`[a-z`, -]+`) \|", text_of("README.md").split("| stage |")[1], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    modules = {path.stem.replace("_", "-") for path in ROOT.glob("stages/*.py")} - {"--init--", *TOOLS}
    defined = set(yaml.load(ROOT / "dvc.yaml")["stages"])
    assert named <= defined
    assert all(any(family == name or family.startswith(f"{name}-") for name in named) for family in defined)
    assert modules - named == {"tune", "evaluate-images"}  # tune-clean and tune-bank; evaluate-defended


def stage_names(folder: Path) -> set[str]:
    """The stages of a project, its matrices resolved."""
    with Repo(str(folder)) as project:
        return {stage.name for stage in project.index.stages}


def families(folder: Path) -> set[str]:
    return {name.partition("@")[0] for name in stage_names(folder)}


def overrides_of(command: Command) -> list[str]:
    return [value for flag, value in pairwise(command.words) if flag == "-S"]


def experiments() -> list[Command]:
    """All with other parameters; those of the examples of CONTRIBUTING.md are run by its test."""
    found = [command for command in commands_of("dvc", "exp", "run") if "-S" in command.words]
    return [command for command in found if command.needs != "the diff above"]


@pytest.mark.parametrize("command", experiments(), ids=str)
def test_experiments_give_parameters_that_are_allowed_and_a_graph(command, tmp_path):
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    path, overrides = tmp_path / "params.yaml", overrides_of(command)
    is_sweep = "--queue" in command.words and any(re.search(r"=[\w.]+,", value) for value in overrides)
    runs = get_hydra_sweeps({str(path): overrides}) if is_sweep else [{str(path): overrides}]
    default, embedded = load_params(ROOT / "params.yaml"), True
    found = []
    Repo.init(str(tmp_path), no_scm=True).close()
    for run in runs:
        shutil.copy(ROOT / "params.yaml", path)
        apply_overrides(path, run[str(path)])
        params = load_params(path)
        assert families(tmp_path) >= {"fetch", "evaluate", "attack-adaptive", "plot"}
        found.append(params)
        embedded &= params.model.name.startswith("local-dir:") and set(params.datasets) <= OURS
        embedded &= not any("torchvision:" in str(threat) for threat in params.oblivious.values())
    assert any(params != default for params in found)
    assert embedded or command.needs, "says `# needs ...` above, for it needs more than the repository"


@pytest.mark.parametrize("command", commands_of("python", "-m"), ids=str)
def test_modules_that_are_run_exist_and_take_these_arguments(command):
    _, _, name, *arguments = command.words
    assert importlib.util.find_spec(name), name
    if name == "venv" or name.removeprefix("stages.") in TOOLS or not name.startswith("stages."):
        return
    parameters = inspect.signature(importlib.import_module(name).main).parameters.values()
    needed = [one for one in parameters if one.default is one.empty]
    assert len(needed) <= len(arguments) <= len(parameters)


@pytest.mark.parametrize("command", [one for one in commands_of("python") if one.words[1] != "-m"], ids=str)
def test_scripts_that_are_run_exist(command):
    assert (ROOT / command.words[1]).is_file()


@pytest.mark.parametrize("command", commands_of("python", "-m", "stages.preset"), ids=str)
def test_presets_that_are_run_exist(command):
    assert read_preset(command.words[3], ROOT / PRESETS)


def test_the_table_of_presets_is_that_of_their_files():
    rows = re.findall(r"^\| `([a-z_]+)` \|", text_of("presets/README.md").split("## Cost")[0], re.MULTILINE)
    assert sorted(rows) == sorted(path.stem for path in (ROOT / PRESETS).glob("*.yaml"))


@pytest.mark.parametrize("command", commands_of("dvc", "repro"), ids=str)
def test_stages_that_are_reproduced_exist(command):
    wanted = [word for word in command.words[2:] if not word.startswith("-") and word != "STAGE"]
    assert set(wanted) <= (stage_names(ROOT) if wanted else set())


def test_inline_stages_exist():
    """Stages that prose names as `name@data-set-...`."""
    found = [
        name for document in DOCUMENTS for name in re.findall(r"`(?:dvc repro )?([a-z-]+@[\w-]+)`", text_of(document))
    ]
    assert found and set(found) <= stage_names(ROOT)


def test_the_readme_loads_a_method_as_a_module(tmp_path, monkeypatch):
    """Its second block of Python, on a prompt file in the place that it names."""
    plain, victim = blocks("README.md", "python")
    assert "stages" not in plain and "load_victim" in victim
    from stages.models.clip import load_clip

    model = load_params(ROOT / "params.yaml").model
    (tmp_path / "data").mkdir()
    (tmp_path / "data/embedded").symlink_to(ROOT / "data/embedded")
    monkeypatch.chdir(tmp_path)
    clip = load_clip(**model.model_dump(), device="cpu")
    text_features = np.eye(10, clip.encode_image(torch_images(clip.image_size)).shape[1], dtype=np.float32)[None]
    made_by = {"model": clip.fingerprint, "block": {}}
    names = [f"class {label}" for label in range(10)]
    path = prompts_file("fashion", "all", "tune_bank", "advpt")
    path.parent.mkdir(parents=True)
    save_prompts(path, PromptFile(text_features, 100.0, names, "{}", made_by))
    there: dict = {}
    exec(victim, there)
    images = torch_images(clip.image_size).requires_grad_()
    logits = there["victim"](images)
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert images.grad.abs().sum() > 0


def torch_images(side: int):
    import torch

    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml")), ids=lambda path: path.stem)
def test_forms_of_issues_are_valid_and_ask_for_the_parameters(path):
    form = yaml.load(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["type"] == "textarea" and field["attributes"]["label"] for field in fields)
    assert "params" in [field["id"] for field in fields if field.get("validations", {}).get("required")]


def test_the_workflow_runs_scripts_that_are_here():
    (job,) = yaml.load(ROOT / ".github/workflows/ci.yml")["jobs"].values()
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    assert scripts and all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_it_is_short():
    assert len(text_of("README.md").splitlines()) <= 200
