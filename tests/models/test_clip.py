"""Models: the fast form equals open_clip's own, the wrong weights are refused."""

import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.models.clip import load_clip, weights_digest
from stages.models.device import choose_device, to_tensor
from tests.models.random_models import KINDS, load_folder, save_random

TINY = Path("data/embedded/tiny-clip")
CPU = torch.device("cpu")


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "clip"))


@pytest.mark.parametrize("kind", KINDS)
def test_any_image_tower_equals_open_clip_and_has_gradients(tmp_path, kind):
    save_random(tmp_path, kind)
    clip = load_folder(tmp_path)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8))
    with torch.no_grad():
        expected = model.eval().encode_image(preprocess(picture)[None])
    images = to_tensor(clip.fit(picture)[None], CPU).requires_grad_()
    found = clip.encode_image(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert (gradient != 0).float().mean() > 0.5
    assert torch.equal(clip.encode_image(images), found) and not clip.model.training


def test_only_open_clips_resnet_is_folded(tmp_path):
    for kind, left in (("rn50", False), ("timm_byobnet", True)):
        save_random(tmp_path / kind, kind)
        modules = load_folder(tmp_path / kind).model.modules()
        assert any(isinstance(module, torch.nn.BatchNorm2d) for module in modules) == left


def test_other_weights_than_expected_are_refused_with_both_digests(copied):
    digest = weights_digest(f"local-dir:{copied}", None)
    with pytest.raises(ValueError, match=rf"(?s){digest}.*0000"):
        load_folder(copied, "0000")


def test_a_local_model_must_state_its_digest():
    with pytest.raises(ValueError, match="put that digest there"):
        load_clip(f"local-dir:{TINY}", pretrained=None, sha256=None, device=CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(copied, value):
    weights = load_file(copied / "open_clip_model.safetensors")
    weights["visual.conv1.weight"][0, 0, 0, 0] = value
    save_file(weights, copied / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match=r"NaN or inf in visual\.conv1\.weight"):
        load_folder(copied)


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("local-dir:/nowhere", None, "no open_clip folder"),
        ("ViT-B-61", None, "knows no 'ViT-B-61'"),
        ("ViT-B-32", "opnai", "tags: .*openai"),
    ],
)
def test_a_model_that_is_not_there_says_what_there_is(name, pretrained, message):
    with pytest.raises(ValueError, match=message):
        weights_digest(name, pretrained)


def test_a_gpu_that_is_not_there_is_an_error():
    if torch.cuda.is_available():
        assert choose_device("cuda").type == "cuda"
    else:
        with pytest.raises(ValueError, match="no CUDA device"):
            choose_device("cuda")
    assert choose_device("cpu").type == "cpu"


def test_pixels_become_images_in_the_unit_range():
    pixels = np.array([[[[0, 51, 255]]]], np.uint8)
    assert torch.equal(to_tensor(pixels, CPU), torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1))
