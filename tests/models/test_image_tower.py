"""The rearranged image towers against open_clip's own, in double precision."""

import copy

import open_clip
import pytest
import torch

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import feature_kl
from stages.attacks.pgd import pgd
from stages.models.clip import Clip
from stages.models.image_tower import encode_with_tokens, optimize_for_input_gradients, token_prompts_fit
from tests.models.random_models import KINDS, VIT, random_model
from tests.references import feature_attack, features_with_tokens

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


def towers_of(model_cfg: dict) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A tower as open_clip builds it, and the same rearranged."""
    plain = tower_of(model_cfg)
    fast = copy.deepcopy(plain)
    optimize_for_input_gradients(fast)
    return plain, fast


def features_and_gradient(visual: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    images = images.clone().requires_grad_()
    features = visual(images)
    weight = torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return features.detach(), torch.autograd.grad((features * weight).sum(), images)[0]


@pytest.mark.parametrize("model_cfg", KNOWN.values(), ids=KNOWN)
def test_features_and_pixel_gradient_equal_open_clip(model_cfg):
    plain, fast = towers_of(model_cfg)
    assert optimize_for_input_gradients(fast), "a second time changes nothing more"
    size = open_clip.model.CLIPVisionCfg(**model_cfg["vision_cfg"]).image_size
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, found = features_and_gradient(plain, images), features_and_gradient(fast, images)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-12)
    assert (found[1] - expected[1]).norm() <= 1e-12 * expected[1].norm()


@pytest.mark.parametrize("kind", ["rn50", "vit_b_32"])
def test_the_whole_attack_equals_the_plain_loop(kind):
    """Ten steps from the same random start; only a gradient of about 0 could round to another sign."""
    model = random_model(KINDS[kind][0]).double()
    open_clip.set_model_preprocess_cfg(model, {**KINDS[kind][1], "size": model.visual.image_size})
    plain = copy.deepcopy(model)  # its parameters take gradients
    clip = Clip(model, None, {})
    images, start = torch.rand(2, 2, 3, 224, 224, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ball, steps = LinfBall(8 / 255), 10
    start = ball.project(start, images)
    expected = feature_attack(
        plain, lambda x: plain.encode_image(clip._normalised(x)), images, start, eps=ball.eps, steps=steps
    )
    objective = feature_kl(clip.encode_image, clip.encode_image(images))
    step_size, noise = 1.25 * ball.eps / steps, ImageNoise(0, ["a", "b"])
    found = pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise, start=start)
    assert not torch.equal(found, start)
    assert (found - expected).abs().gt(1e-9).float().mean() < 1e-4


@pytest.mark.parametrize("model_cfg", UNKNOWN.values(), ids=UNKNOWN)
def test_other_towers_stay_as_they_are_and_it_is_known(model_cfg):
    model = random_model(model_cfg)
    before = {name: type(module) for name, module in model.visual.named_modules()}
    assert not optimize_for_input_gradients(model.visual)
    assert {name: type(module) for name, module in model.visual.named_modules()} == before
    open_clip.set_model_preprocess_cfg(model, {"mean": [0.5] * 3, "std": [0.5] * 3, "size": model.visual.image_size})
    assert not Clip(model, None, {}).is_fast


VITS = {name: model_cfg for name, model_cfg in KNOWN.items() if not name.startswith("ResNet")}


def tokens_and_images(visual: torch.nn.Module, layers: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(layers, count, visual.class_embedding.shape[-1], generator=generator, dtype=torch.float64)
    return tokens, torch.rand(3, 3, 224, 224, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("model_cfg", VITS.values(), ids=VITS)
def test_token_prompts_equal_a_loop_over_the_blocks_of_open_clip(model_cfg, layers):
    """Shallow ones stay to the end, deep ones are replaced; the gradients in both arguments are the same, too."""
    plain, fast = towers_of(model_cfg)
    layers = min(layers, len(plain.transformer.resblocks))
    tokens, images = tokens_and_images(plain, layers, 3)
    found = []
    for features in (lambda x, t: features_with_tokens(plain, x, t),
                     lambda x, t: encode_with_tokens(fast, x, t.expand(len(x), -1, -1, -1))):  # fmt: skip
        x, t = images.clone().requires_grad_(), tokens.clone().requires_grad_()
        outputs = features(x, t)
        found.append([outputs, *torch.autograd.grad((outputs * torch.arange(outputs.shape[-1])).sum(), [x, t])])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12 * expected.abs().max().item())
    assert not torch.allclose(found[0][0], plain(images), rtol=1e-3)


@pytest.mark.parametrize("model_cfg", VITS.values(), ids=VITS)
def test_no_token_is_the_plain_tower(model_cfg):
    plain, fast = towers_of(model_cfg)
    tokens, images = tokens_and_images(plain, len(plain.transformer.resblocks), 0)
    found = encode_with_tokens(fast, images, tokens.expand(len(images), -1, -1, -1))
    assert (found - plain(images)).abs().max() <= 1e-12


def test_each_image_may_have_tokens_of_its_own():
    _, visual = towers_of(VIT_KIND)
    _, images = tokens_and_images(visual, 2, 3)
    own = torch.randn(3, 2, 3, 64, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    together = encode_with_tokens(visual, images, own)
    alone = [encode_with_tokens(visual, images[one : one + 1], own[one : one + 1]) for one in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model_cfg", [KINDS["rn50"][0], *UNKNOWN.values()], ids=["ResNet", *UNKNOWN])
def test_other_towers_take_no_tokens(model_cfg):
    _, visual = towers_of(model_cfg)
    assert not token_prompts_fit(visual)
