"""Attacks in bf16: their own copy of the tower, fp32 outside, and only where it is meant."""

import open_clip
import pytest
import torch

from stages.models import clip as module
from stages.models.clip import Clip, load_clip
from stages.models.device import has_bf16_units
from stages.runtime.params import load_params
from tests.models.random_models import KINDS, random_model

CPU = torch.device("cpu")


def small(kind: str, precision: str) -> Clip:
    model = random_model(KINDS[kind][0])
    open_clip.set_model_preprocess_cfg(model, {**KINDS[kind][1], "size": model.visual.image_size})
    return Clip(model, None, {}, precision=precision)


@pytest.mark.parametrize("kind", ["rn50", "vit_b_32"])
def test_bf16_gradients_point_where_fp32_gradients_do(kind):
    images = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(0)).requires_grad_()
    clips = [small(kind, precision) for precision in ("fp32", "bf16")]
    features = [clip.gradient_encoder()(images) for clip in clips]
    weight = torch.randn(features[0].shape, generator=torch.Generator().manual_seed(1))
    exact, rough = (torch.autograd.grad((found * weight).sum(), images)[0].flatten() for found in features)
    assert torch.cosine_similarity(exact, rough, dim=0) > 0.95
    assert not torch.equal(exact, rough) and rough.dtype == torch.float32
    assert torch.equal(clips[0].encode_image(images), clips[1].encode_image(images)), "features stay in fp32"
    assert all(weight.dtype == torch.float32 for weight in clips[1].model.parameters())


def test_a_tower_that_is_not_known_stays_in_fp32():
    clip = small("timm_vit", "bf16")
    assert clip.precision == "fp32" and clip.gradient_encoder() == clip.encode_image


@pytest.mark.parametrize("kind", ["vit_b_32", "timm_vit"])
def test_fp64_is_of_all_weights_and_features_of_any_tower(kind):
    clip = small(kind, "fp64")
    assert clip.precision == "fp64" and all(weight.dtype == torch.float64 for weight in clip.model.parameters())
    size = clip.image_size
    found = clip.gradient_encoder()(torch.rand(2, 3, size, size))
    assert found.dtype == clip.dtype == torch.float64


@pytest.mark.parametrize(("units", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_asks_the_device(monkeypatch, units, expected):
    monkeypatch.setattr(module, "has_bf16_units", lambda device: units)
    model = load_params().model
    loaded = load_clip(model.name, pretrained=None, sha256=model.sha256, device=CPU, precision="auto")
    assert loaded.precision == expected


def test_devices_without_bf16_units_are_known():
    assert not has_bf16_units(torch.device("meta"))
    assert has_bf16_units(CPU) == torch.cpu._is_amx_tile_supported()
