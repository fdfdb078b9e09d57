"""Token prompts: how they start, what is refused, and as prompt files; test_adversarial.py tests their tuning."""

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

import stages
from stages.adversarial import prompt_file
from stages.models.clip import weights_digest
from stages.storage.prompts import load_prompts, save_prompts
from tests.crafting.test_adversarial import NAMES, OF_TOKENS, TOKENS, VIT, met_by, stock_features, tuned, tuning_of
from tests.references import normalised


def test_seeds_start_from_tokens_of_their_own_and_the_stated_size(vit, images):
    drawn = tuning_of(vit, images, "adv_vpt", tokens=100, depth=None, token_std=0.5)[0].learner.initial["tokens"]
    assert drawn.shape == (2, len(vit.model.visual.transformer.resblocks), 100, vit.model.visual.conv1.out_channels)
    assert abs(drawn.std() - 0.5) < 0.01 and not torch.equal(drawn[0], drawn[1])


def test_the_attack_reaches_the_ball(vit, images):
    moved = met_by(tuning_of(vit, images, "adv_vpt", **TOKENS, clean_fraction=0.5)[0], images)
    assert (moved[:50] == 0).all() and (moved[50:] == 4).all()


@pytest.mark.parametrize("depth", [1, None], ids=["shallow", "deep"])
def test_a_prompt_file_is_loaded_as_the_victim_that_was_tuned(vit, images, tmp_path, depth):
    tuning, generators = tuning_of(vit, images, "adv_vpt", **TOKENS, depth=depth)
    reached = [tuned(tuning, generators, index) for index in range(2)]
    made_by = {"model": {"name": VIT, "pretrained": None, "sha256": weights_digest(VIT, None)}}
    save_prompts(tmp_path / "prompts.safetensors", prompt_file(reached, tuning, NAMES, made_by))
    stored = load_prompts(tmp_path / "prompts.safetensors")
    assert stored.has_image_prompt and stored.pixels is None
    np.testing.assert_array_equal(stored.tokens, np.stack([one.arrays["tokens"] for one in reached]))
    plain = open_clip.create_model(VIT).eval()
    shown = torch.tensor(images.pixels[:20]).permute(0, 3, 1, 2).float() / 255
    for seed in range(2):
        victim = stages.load_victim(tmp_path, seed=seed, device="cpu")
        tokens = torch.tensor(stored.tokens[seed])
        features = stock_features(plain, normalised(plain.visual, shown), tokens)
        expected = stored.logit_scale * features @ torch.tensor(stored.text_features[seed]).T
        torch.testing.assert_close(victim(shown), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(victim.undefended()(shown), victim(shown))
        without = vit.logit_scale * F.normalize(vit.encode_image(shown), dim=-1) @ victim.text_features.T
        assert not torch.allclose(victim(shown), without, atol=1e-2)


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_a_tower_without_tokens_is_refused(clip, images, kind):
    with pytest.raises(ValueError, match=r"standard ViT .* is a ModifiedResNet: use a pixel prompt .* or a ViT"):
        tuning_of(clip, images, kind)


def test_more_layers_than_the_tower_has_are_refused(vit, images):
    blocks = len(vit.model.visual.transformer.resblocks)
    with pytest.raises(ValueError, match=rf"depth: {blocks + 1}; .* {blocks} blocks: 1 to {blocks}, or null for all"):
        tuning_of(vit, images, "adv_vpt", depth=blocks + 1)


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"depth": 0}, {"frame": 4}, {"token_std": 0.0}])
def test_a_block_with_other_keys_or_no_tokens_is_refused(vit, images, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        tuning_of(vit, images, "adv_vpt", **wrong)
