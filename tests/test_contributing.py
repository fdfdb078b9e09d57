"""The examples of CONTRIBUTING.md apply to the source as it is, and what they add works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from stages.runtime.params import load_params
from tests.imports import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall("<!-- (\\w+) -->\n```diff\n(.*?)```", TEXT, re.DOTALL))

USES = {
    "method": (
        "methods.tune_bank.offset={kind: offset, lr: 0.05}",
        """
import torch
from stages.models.clip import load_clip
from stages.prompts.learners import Task, learner_of
from stages.runtime.params import load_params

params = load_params()
method = params.methods.find("tune_bank", "offset")
clip = load_clip(**params.model.model_dump(), device="cpu")
names, tune = ["Bag", "Coat", "Dress"], method.block.tune(params.tune)
learner = learner_of(Task("offset", tune, names, "a photo of a {}.", clip, [torch.Generator()] * 2))
offset = learner.initial.requires_grad_()
text_features, bias = learner.classifier(offset)
assert text_features.shape == (2, 3, offset.shape[1]) and not bias.any()
assert torch.allclose(text_features.norm(dim=-1), torch.ones(2, 3))
assert torch.equal(text_features[0], text_features[1])
text_features[:, 0].sum().backward()
assert offset.grad.any()
with torch.no_grad():
    assert not torch.allclose(learner.classifier(offset + 1)[0], text_features)
settings = method.settings(params.tune)
assert settings["lr"] == 0.05 and not {"context_length", "class_position", "init_std"} & set(settings)
""",
    ),
    "threat": (
        "adaptive.corners_eps4={method: corners, tries: 50, eps: 4, images: 200, tuning_seeds: 1}",
        """
import torch
from stages.attacks.corners import corners
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.crafting.adaptive import adaptive_attack
from stages.runtime.params import load_params

images = torch.full((2, 1, 1, 2), 100 / 255)
ball = LinfBall(4 / 255)
best = corners(lambda x: x.sum((1, 2, 3)), images, ball=ball, tries=50, noise=ImageNoise(0, ["a", "b"]))
assert torch.allclose(best, images + ball.eps)  # of 50 corners of two pixels one is the brightest
settings = load_params().adaptive["corners_eps4"]

class Victim(torch.nn.Module):
    is_random = False
    def forward(self, images):
        return torch.stack([images.mean((1, 2, 3)), torch.full((len(images),), 0.39)], 1)

attacked = adaptive_attack(settings, Victim(), seed=0)(images, torch.zeros(2).long(), ImageNoise(0, ["a", "b"]))
assert torch.allclose(attacked, images - ball.eps)
""",
    ),
    "defence": (
        "methods.defended.advpt_grey={method: advpt, defence: {kind: grey}}",
        """
import torch
from stages.defences.defence import defence_of
from stages.runtime.params import load_params

defence = defence_of(load_params().methods.defended["advpt_grey"].defence)
images = torch.tensor([0.0, 0.3, 0.6]).view(1, 3, 1, 1).requires_grad_()
grey = defence(images)
assert torch.allclose(grey, torch.tensor(0.3)) and grey.shape == (1, 3, 1, 1)
grey[0, 0].sum().backward()
assert images.grad.any()
""",
    ),
    "dataset": (
        None,
        """
from pathlib import Path
from PIL import Image
from stages.datasets.catalogue import source_of
from stages.datasets.imagenette import NAMES

raw = Path("data/raw/imagenette")
for part in ("train", "val"):
    for folder in NAMES:
        path = raw / "imagenette2" / part / folder / f"{folder}.jpeg"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(path)
source = source_of("imagenette", raw, held_out=0.2)
listing = source.list_images(raw)
assert listing.class_names[3] == "chain saw"
assert [item.label for item in listing.train] == [item.label for item in listing.test] == list(range(10))
assert listing.test[3].id == "imagenette2/val/n03000684/n03000684.jpeg"
""",
    ),
}


OVERRIDES = [override for override, _ in USES.values() if override]


def apply(folder: Path, name: str) -> list[str]:
    """Apply an example as the page says; return the files that it changes."""
    command = ["git", "apply", "-"]
    done = subprocess.run(command, input=EXAMPLES[name], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return re.findall(r"^\+\+\+ b/(.*)$", EXAMPLES[name], re.MULTILINE)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the source and the graph, to which all examples are applied."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    (folder / "data/embedded").symlink_to(ROOT / "data/embedded")
    for name in ("dvc.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    changed = sorted({file for name in EXAMPLES for file in apply(folder, name)})
    run(folder, sys.executable, "-m", "ruff", "check", *changed)
    run(folder, sys.executable, "-m", "ruff", "format", "--check", *changed)
    apply_overrides(folder / "params.yaml", [f"+{override}" for override in OVERRIDES])
    return folder


def run(project: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_each_example_is_used_as_the_page_says():
    assert list(EXAMPLES) == list(USES)
    assert all(f"-S '+{override}'" in TEXT for override in OVERRIDES)


def test_the_examples_apply_and_work(project):
    run(project, sys.executable, "-c", "".join(use for _, use in USES.values()))
    run(project, "dvc", "init", "--no-scm", "-q")
    stages = run(project, "dvc", "stage", "list", "--name-only")
    assert all(f"-{override.split('=')[0].split('.')[-1]}" in stages for override in OVERRIDES)


def test_a_kind_without_a_context_takes_no_key_of_one_and_no_other_classes(project):
    refused = {
        "+methods.tune_bank.offset.init_words=a photo of a": r"offset: init_words: kind 'offset' has no context",
        "base_to_new=[fashion]": r"offset, .*\.advpt_refreshed.*: .* '~methods\.tune_bank\.offset' -S ",
    }
    use = "from pathlib import Path\nimport pytest\nfrom stages.runtime.params import load_params\n"
    for at, (override, message) in enumerate(refused.items()):
        shutil.copy(project / "params.yaml", project / f"{at}.yaml")
        apply_overrides(project / f"{at}.yaml", [override])
        use += f"with pytest.raises(ValueError, match={message!r}):\n    load_params(Path('{at}.yaml'))\n"
    run(project, sys.executable, "-c", use)


@pytest.mark.parametrize("override", OVERRIDES)
def test_without_its_example_a_block_is_refused(tmp_path, override):
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    apply_overrides(path, [f"+{override}"])
    with pytest.raises(ValueError, match=re.escape(override.split("=")[0].rpartition(".")[0])):
        load_params(path)
