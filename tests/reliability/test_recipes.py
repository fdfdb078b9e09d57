"""The experiments of README.md and docs/ that need no more than the repository run, on fewer images and steps."""

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
from PIL import Image

from stages.entries.drawn import draw
from stages.models.clip import weights_digest
from stages.runtime.params import load_params
from stages.storage.layout import raw_folder
from tests.entries.test_presets import teach_all_words
from tests.imports import ROOT
from tests.micro import Project, micro_project, ran, yaml
from tests.test_readme import Command, experiments, overrides_of

TAUGHT = "data/embedded/taught"  # stands for a published model: it knows all words
STAND_IN = [f"model.name=local-dir:{TAUGHT}", "model.pretrained=null", "model.sha256=DIGEST"]
FEW = {  # values of each block of a group that has the key
    "adaptive": {"images": 2, "steps": 1, "restarts": 1, "targets": 1, "queries": 5, "samples": 2, "tuning_seeds": 1},
    "oblivious": {"steps": 2, "restarts": 1},
    "methods.refresh": {"steps": 1, "rounds": 2, "epochs": 2},
}
ONE_EPOCH = {
    "epochs": 1,
    "warmup_epochs": 0,
    "tuning_seeds": 1,
}  # of each block of `adversarial`
ONCE = ["data.shots=2", "data.test_images=20", "attack.steps=2", "tune.epochs=2", "tune.warmup_epochs=0"]
ONCE += ["assess.images=4", "assess.eps=[4,64]", "assess.steps=[1,2]", "assess.autoattack_images=1", "assess.queries=5"]
KEPT = {"zero_shot", "advpt", "pgd_eps8", "adaptive_eps4"}  # stay though a recipe does not name them
OF_GROUPS = {"coop", "class_bias", "pixel_prompt"}  # stay beside a defended method, which needs one of each group
NO_PARAMETER = ("datasets", "base_to_new", "runtime")  # of a stage: they decide which stages there are, or how they run


@pytest.fixture(scope="module")
def shared(tmp_path_factory, environment) -> Project:
    """The default on fewer images and steps, with a model and a data set that stand for published and own ones."""
    project = micro_project(tmp_path_factory.mktemp("project") / "recipes", environment)
    for name in ("data/embedded/fashion_second", "params.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project.folder / name)
    apply_overrides(project.folder / "params.yaml", list(fewer(yaml.load(ROOT / "params.yaml"))))
    shutil.copytree(project.folder / "data/embedded/tiny-clip", project.folder / TAUGHT)
    teach_all_words(project.folder / TAUGHT / "open_clip_model.safetensors")
    images = draw("fashion", "all", 80, seed=0)
    for label in set(images.labels):
        chosen = [pixels for pixels, other in zip(images.pixels, images.labels, strict=True) if other == label]
        for index, pixels in enumerate(chosen):
            path = project.folder / raw_folder("my_birds") / ("test", "train")[index % 2] / f"bird {label}/{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "recipes")
    return project


def fewer(values: dict) -> Iterator[str]:
    """Yield changes of params.yaml, which is given as loaded, after which all stages take a minute."""
    yield from ONCE
    for group, few in FEW.items():
        for name, block in value_at(values, group).items():
            yield from (f"{group}.{name}.{key}={value}" for key, value in few.items() if key in block)
            if block.get("method") == "autoattack":  # its steps are no key: none of its targeted attacks where all fall
                yield f"{group}.{name}.eps=64"
            if "surrogate" in block:
                yield f"{group}.{name}.surrogate.epochs=1"
    for name in values["methods"]["adversarial"]:
        yield from (f"++methods.adversarial.{name}.{key}={value}" for key, value in ONE_EPOCH.items())


def unnamed(recipe: Command, values: dict) -> Iterator[str]:
    """Yield changes that remove what a recipe does not name: its values are given, those of the recipe applied."""
    text = " ".join(recipe.words)
    kept = KEPT | (OF_GROUPS if "methods.defended" in text else set())
    for group in ("oblivious", "adaptive", *(f"methods.{group}" for group in values["methods"])):
        names = [name for name in value_at(values, group) if not re.search(rf"\b{name}\b", text)]
        gone = [name for name in names if name not in kept]
        yield from (f"~{group}.{name}" for name in gone)
        if "coop" in gone:
            yield "~methods.tune_bank.advpt.baseline"


def recipes() -> list[Command]:
    """Return each experiment once: those that need nothing else, and those for which `shared` has a stand-in.

    tests/reliability/test_ray.py runs what `runtime.engine=ray` does: here each of 40 stages would start a cluster.
    """
    found = {}
    for one in experiments():
        datasets = {change for change in overrides_of(one) if change.startswith("datasets=")}
        if "runtime.engine=ray" in one.words:
            continue
        if not one.needs or ("model.pretrained=openai" in one.words and datasets <= {"datasets=[my_birds]"}):
            found.setdefault(tuple(one.words), one)
    return list(found.values())


def are_queued(recipe: Command) -> bool:
    return "--queue" in recipe.words


def changed_by(changes: list[str], shared: Project) -> tuple[object, dict]:
    """Return the parameters after changes: checked, and as loaded."""
    path = shared.folder / "expected.yaml"
    shutil.copy(shared.folder / "params.yaml", path)
    apply_overrides(path, changes)
    found = load_params(path), yaml.load(path)
    path.unlink()
    return found


@pytest.mark.parametrize("recipe", [one for one in recipes() if not are_queued(one)], ids=str)
def test_a_recipe_runs_and_does_what_it_says(shared, recipe: Command):
    shared.run("git", "checkout", "-q", ".")
    shared.run("git", "clean", "-fdq")
    own = overrides_of(recipe)
    digest = weights_digest(f"local-dir:{shared.folder / TAUGHT}", None)
    further = [change.replace("DIGEST", digest) for change in STAND_IN if "model.pretrained=openai" in own]
    further += unnamed(recipe, changed_by([*own, *further], shared)[1])
    further += fewer(changed_by([*own, *further], shared)[1])
    params, values = changed_by([*own, *further], shared)

    words = [word for change in further for word in ("-S", change)]
    assert "plot" in ran(shared.run(*recipe.words, *words, timeout=900))  # one has nineteen defences
    assert load_params(shared.folder / "params.yaml") == params
    metrics = json.loads((shared.folder / "reports/metrics.json").read_text())
    assert set(params.datasets) <= set(metrics)
    for found in metrics.values():
        assert set(found["clean"]) == {method.name for method in params.methods.all()}
        assert {*params.oblivious, *params.adaptive} <= set(found)
    lock = yaml.load(shared.folder / "dvc.lock")["stages"].values()
    used = [stage["params"]["params.yaml"] for stage in lock if "params" in stage]
    for key in (re.fullmatch(r"\+*([\w.]+)=.*", one)[1] for one in own if not one.startswith("~")):
        assert key.startswith(NO_PARAMETER) or any(value_at(one, key) == value_at(values, key) for one in used), key


@pytest.mark.parametrize("recipe", [one for one in recipes() if are_queued(one)], ids=str)
def test_a_recipe_queues_an_experiment_for_each_combination(shared, recipe: Command):
    shared.run("git", "checkout", "-q", ".")
    shared.run(*recipe.words)
    queued = len(re.findall(r"Queued$", shared.run("dvc", "queue", "status"), re.MULTILINE))
    shared.run("dvc", "exp", "show", "--only-changed")
    shared.run("dvc", "queue", "remove", "--queued")
    assert queued == len(list(get_hydra_sweeps({"params.yaml": overrides_of(recipe)}))) > 1


def value_at(values: dict, key: str) -> object:
    """Return what stands at a.b.c, where keys may hold dots themselves; None if there is nothing."""
    if key in values:
        return values[key]
    for own, inside in values.items():
        if key.startswith(f"{own}.") and isinstance(inside, dict):
            return value_at(inside, key.removeprefix(f"{own}."))
    return None
