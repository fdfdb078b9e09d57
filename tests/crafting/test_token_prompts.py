"""Token prompts, tuned on images attacked through them: against a plain loop with stock blocks, and as prompt files."""

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

import stages
from stages.adversarial import prompt_file, tune_seed
from stages.models.clip import Clip, load_clip, weights_digest
from stages.storage.prompts import load_prompts, save_prompts
from tests.crafting.test_adversarial import (
    CPU,
    NAMES,
    RUNTIME,
    images,
    in_float64,
    met_by,
    plain_loop,
    stock_features,
    tuned,
    tuning_of,
)

assert images  # a fixture of these tests
VIT = "local-dir:data/embedded/tiny-vit"
DEPTHS = {"shallow": 1, "deep": None}
SMALL = {"batch_size": 40, "epochs": 2, "tokens": 3, "optimizer": "sgd", "lr": 0.5}
KINDS = ["adv_vpt", "adv_vlpt", "fap"]


@pytest.fixture(scope="module")
def vit() -> Clip:
    return load_clip(VIT, pretrained=None, sha256=weights_digest(VIT, None), device=CPU)


@pytest.mark.parametrize(("kind", "depth"), [("adv_vpt", DEPTHS["shallow"]), ("adv_vlpt", DEPTHS["deep"])])
def test_it_ends_where_a_plain_loop_with_stock_open_clip_ends(images, kind, depth):
    few, exact = images.take(slice(0, 8)), in_float64(VIT)
    text = {"context_length": 4, "text_lr": 0.5} if kind == "adv_vlpt" else {}
    changes = {**SMALL, "batch_size": 4, "eps": [2.0, 8.0], "tuning_seeds": 1, "depth": depth, **text}
    tuning, generators = tuning_of(exact, few, kind, **changes)
    tuning.learner.initial = {name: tensor.double() for name, tensor in tuning.learner.initial.items()}
    start = tuning.learner.initial["tokens"][0].numpy().copy()
    found = tuned(tuning, generators).arrays
    context = (4, 64) if kind == "adv_vlpt" else None
    tokens, context = plain_loop(tuning.settings, few, context, VIT, start.shape)
    moved = np.abs(tokens.numpy() - start).max()
    assert moved > 1e-3
    np.testing.assert_allclose(found["tokens"], tokens.numpy(), atol=1e-4 * moved)
    if context is not None:
        np.testing.assert_allclose(found["context"], context.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_moves_or_takes_a_gradient(vit, images, kind):
    before = {name: weight.clone() for name, weight in vit.model.state_dict().items()}
    tuning, generators = tuning_of(vit, images, kind, **SMALL, depth=None)
    start = {name: tensor[0].numpy().copy() for name, tensor in tuning.learner.initial.items()}
    changed = tuned(tuning, generators).arrays
    assert changed.keys() >= start.keys()
    assert all((changed[name] != array).any(axis=-1).all() for name, array in start.items())
    assert all(torch.equal(weight, before[name]) for name, weight in vit.model.state_dict().items())
    assert all(weight.grad is None and not weight.requires_grad for weight in vit.parameters())


@pytest.mark.parametrize("depth", DEPTHS.values(), ids=DEPTHS)
def test_it_does_not_depend_on_how_images_are_put_together(vit, images, depth):
    changes, few = {**SMALL, "epochs": 1, "eps": [2.0, 4.0], "depth": depth}, images.take(slice(0, 60))
    one = tuned(*tuning_of(vit, few, "adv_vpt", **changes))
    for batch_size, workers in [(33, 3), (7, 1)]:
        runtime = RUNTIME.model_copy(update={"batch_size": batch_size, "workers": workers})
        other = tuned(*tuning_of(vit, few, "adv_vpt", runtime=runtime, **changes))
        assert other.arrays["tokens"].tobytes() == one.arrays["tokens"].tobytes()


def test_an_interrupted_run_goes_on_to_the_same_bits(vit, images, tmp_path):
    whole = tuned(*tuning_of(vit, images, "adv_vlpt", **SMALL))
    tuning, generators = tuning_of(vit, images, "adv_vlpt", **SMALL)
    path = tmp_path / "progress.safetensors"
    first = next(tuning.tune(0, generators[0]))
    stages.adversarial.save_progress(path, first)
    tuning, generators = tuning_of(vit, images, "adv_vlpt", **SMALL)
    again = tune_seed(tuning, 0, generators[0], path, what="test")
    assert all(array.tobytes() == whole.arrays[name].tobytes() for name, array in again.arrays.items())


def test_seeds_start_from_tokens_of_their_own_and_the_stated_size(vit, images):
    drawn = tuning_of(vit, images, "adv_vpt", tokens=100, depth=None, token_std=0.5)[0].learner.initial["tokens"]
    assert drawn.shape == (2, len(vit.model.visual.transformer.resblocks), 100, vit.model.visual.conv1.out_channels)
    assert abs(drawn.std() - 0.5) < 0.01 and not torch.equal(drawn[0], drawn[1])


def test_the_attack_reaches_the_ball(vit, images):
    moved = met_by(tuning_of(vit, images, "adv_vpt", **SMALL, clean_fraction=0.5)[0], images)
    assert (moved[:50] == 0).all() and (moved[50:] == 4).all()


@pytest.mark.parametrize("depth", DEPTHS.values(), ids=DEPTHS)
def test_a_prompt_file_is_loaded_as_the_victim_that_was_tuned(vit, images, tmp_path, depth):
    tuning, generators = tuning_of(vit, images, "adv_vpt", **SMALL, depth=depth)
    reached = [tuned(tuning, generators, index) for index in range(2)]
    made_by = {"model": {"name": VIT, "pretrained": None, "sha256": weights_digest(VIT, None)}}
    save_prompts(tmp_path / "prompts.safetensors", prompt_file(reached, tuning, NAMES, made_by))
    stored = load_prompts(tmp_path / "prompts.safetensors")
    assert stored.has_image_prompt and stored.pixels is None
    np.testing.assert_array_equal(stored.tokens, np.stack([one.arrays["tokens"] for one in reached]))
    plain = open_clip.create_model(VIT).eval()
    shown = torch.tensor(images.pixels[:20]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(plain.visual.preprocess_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    for seed in range(2):
        victim = stages.load_victim(tmp_path, seed=seed, device="cpu")
        tokens = torch.tensor(stored.tokens[seed])
        features = stock_features(plain, (shown - mean) / std, tokens)
        expected = stored.logit_scale * features @ torch.tensor(stored.text_features[seed]).T
        torch.testing.assert_close(victim(shown), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(victim.undefended()(shown), victim(shown))
        assert not torch.allclose(victim(shown), plain_logits(vit, shown, stored, seed), atol=1e-2)


def plain_logits(clip, shown, stored, seed):
    """What the tower without tokens says."""
    features = F.normalize(clip.encode_image(shown), dim=-1)
    return stored.logit_scale * features @ torch.tensor(stored.text_features[seed]).T


@pytest.mark.parametrize("kind", KINDS)
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
