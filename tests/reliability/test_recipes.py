"""The experiments of README.md, and some of docs/methods.md, run with what they set, on a micro project."""

import json
import re
import shutil

import pytest
from dvc.utils.hydra import apply_overrides
from PIL import Image

from stages.entries.drawn import draw
from stages.models.clip import weights_digest
from stages.runtime.params import load_params
from stages.storage.layout import raw_folder
from tests.entries.test_presets import teach_all_words
from tests.micro import PIXELS, Project, micro_project, ran, yaml
from tests.test_readme import DOCUMENTS, Command, experiments, overrides_of

TAUGHT = "data/embedded/taught"  # stands for a published model: it knows all words
SMALL = {  # further changes to the recipe that has such a one
    "model.pretrained=openai": [f"model.name=local-dir:{TAUGHT}", "model.pretrained=null", "model.sha256=DIGEST"],
    "+adaptive.autoattack_eps4": ["adaptive.autoattack_eps4.images=4"],
}
SAMPLE = {"~methods.refresh.advpt_refreshed", "+methods.adversarial.apt"}  # of docs/methods.md: how they begin


@pytest.fixture(scope="module")
def shared(tmp_path_factory, environment) -> Project:
    """A micro project with all that the recipes name: a method of each group, a model and a data set."""
    project = micro_project(tmp_path_factory.mktemp("project") / "recipes", environment)
    project.change(data__shots=2, data__test_images=20, adaptive__adaptive_eps4__images=4, assess__images=4)
    project.change(methods__adversarial=PIXELS)
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


def recipes() -> list[Command]:
    """Return all of README.md, and those of docs/methods.md whose first change is one of SAMPLE."""
    found = {document: [one for one in experiments() if one.document == document] for document in DOCUMENTS}
    sample = [one for one in found["docs/methods.md"] if one.words[4].partition("=")[0] in SAMPLE]
    assert len(sample) == len(SAMPLE)
    return [*found["README.md"], *sample]


@pytest.mark.parametrize("recipe", recipes(), ids=str)
def test_a_recipe_runs_and_does_what_it_says(shared, recipe: Command):
    shared.run("git", "checkout", "-q", ".")
    shared.run("git", "clean", "-fdq")
    overrides = overrides_of(recipe)
    further = [change for start, changes in SMALL.items() if any(one.startswith(start) for one in overrides)
               for change in changes]  # fmt: skip
    digest = weights_digest(f"local-dir:{shared.folder / TAUGHT}", None)
    further = [change.replace("DIGEST", digest) for change in further]
    expected = shared.folder / "expected.yaml"
    shutil.copy(shared.folder / "params.yaml", expected)
    apply_overrides(expected, [*overrides, *further])
    params, values = load_params(expected), yaml.load(expected)
    expected.unlink()

    assert "plot" in ran(shared.run(*recipe.words, *(word for change in further for word in ("-S", change))))
    assert load_params(shared.folder / "params.yaml") == params
    metrics = json.loads((shared.folder / "reports/metrics.json").read_text())
    assert set(metrics) == set(params.datasets)
    (found,) = metrics.values()
    assert set(found["clean"]) == {method.name for method in params.methods.all()}
    assert {*params.oblivious, *params.adaptive} <= set(found)
    lock = yaml.load(shared.folder / "dvc.lock")["stages"].values()
    used = [stage["params"]["params.yaml"] for stage in lock if "params" in stage]
    for key in (re.fullmatch(r"\+*([\w.]+)=.*", one)[1] for one in overrides if not one.startswith("~")):
        assert key == "datasets" or any(value_at(one, key) == value_at(values, key) for one in used), key


def value_at(values: dict, key: str) -> object:
    """Return what stands at a.b.c, where keys may hold dots themselves; None if there is nothing."""
    if key in values:
        return values[key]
    for own, inside in values.items():
        if key.startswith(f"{own}.") and isinstance(inside, dict):
            return value_at(inside, key.removeprefix(f"{own}."))
    return None
