"""The rearranged image towers against open_clip's own, in double precision."""

import copy

import open_clip
import pytest
import torch

from stages.models.clip import Clip
from stages.models.image_tower import quicken
from tests.models.random_models import KINDS, VIT, random_model

VIT_KIND = KINDS["vit_b_32"][0]
KNOWN = {
    "ResNet, 50 places": KINDS["rn50"][0],
    "ResNet, few places": {
        **KINDS["rn50"][0],
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    },
    "ViT": VIT_KIND,
    "ViT, quick-GELU": {**VIT_KIND, "quick_gelu": True},
    "ViT, layer scale": {**VIT_KIND, "vision_cfg": {**VIT, "ls_init_value": 0.5}},
    "ViT, mean of the tokens": {**VIT_KIND, "vision_cfg": {**VIT, "pool_type": "avg"}},
    "ViT, norm behind the pool": {**VIT_KIND, "vision_cfg": {**VIT, "final_ln_after_pool": True}},
    "ViT, no norm in front": {**VIT_KIND, "vision_cfg": {**VIT, "no_ln_pre": True}},
    "ViT, one layer": {**VIT_KIND, "vision_cfg": {**VIT, "layers": 1}},
    "ViT, attention pool": {
        **VIT_KIND,
        "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2},
    },
    "CustomTextCLIP": KINDS["custom_text"][0],
}
UNKNOWN = {
    "timm": KINDS["timm_vit"][0],
    "ViT, other blocks": {**VIT_KIND, "vision_cfg": {**VIT, "qk_norm": True}},
}


def tower_of(model_cfg: dict) -> torch.nn.Module:
    return random_model(model_cfg).double().visual.requires_grad_(False)


def features_and_gradient(visual: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    images = images.clone().requires_grad_()
    features = visual(images)
    weight = torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return features.detach(), torch.autograd.grad((features * weight).sum(), images)[0]


@pytest.mark.parametrize("model_cfg", KNOWN.values(), ids=KNOWN)
def test_features_and_pixel_gradient_equal_open_clip(model_cfg):
    plain = tower_of(model_cfg)
    fast = copy.deepcopy(plain)
    assert quicken(fast) and quicken(fast)  # a second time changes nothing more
    size = open_clip.model.CLIPVisionCfg(**model_cfg["vision_cfg"]).image_size
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, found = features_and_gradient(plain, images), features_and_gradient(fast, images)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-12)
    assert (found[1] - expected[1]).norm() <= 1e-12 * expected[1].norm()


@pytest.mark.parametrize("model_cfg", UNKNOWN.values(), ids=UNKNOWN)
def test_other_towers_stay_as_they_are_and_it_is_known(model_cfg):
    model = random_model(model_cfg)
    before = {name: type(module) for name, module in model.visual.named_modules()}
    assert not quicken(model.visual)
    assert {name: type(module) for name, module in model.visual.named_modules()} == before
    open_clip.set_model_preprocess_cfg(model, {"mean": [0.5] * 3, "std": [0.5] * 3, "size": model.visual.image_size})
    assert not Clip(model, None, {}).is_fast
