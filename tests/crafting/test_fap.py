"""FAP: token prompts in both towers, against a plain loop with stock blocks of open_clip, and its loss by hand."""

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from stages.adversarial import prompt_file
from stages.attacks.noise import ImageNoise
from stages.crafting.adversarial_loss import Consistency
from stages.prompts.generators import tuning_generators
from stages.runtime.method_blocks import Fap
from stages.storage.prompts import load_prompts, save_prompts
from tests import references
from tests.crafting.test_adversarial import NAMES, VIT, exact_tuning_of, stock_features, tuned, tuning_of

SMALL = {"batch_size": 8, "epochs": 2, "tuning_seeds": 1, "warmup_epochs": 0, "lr": 0.5, "text_lr": 0.5, "steps": 2}


def plain_fap(settings, images, shape):
    """FAP with stock open_clip modules in float64: two epochs, SGD; tokens (L, P, W) and projections, as tuned."""
    model, tokenizer = open_clip.create_model(VIT).double().eval(), open_clip.get_tokenizer(VIT)
    generator = tuning_generators(0, 1)[0]
    drawn_layers = settings.depth or len(model.visual.transformer.resblocks)
    tokens = torch.randn((drawn_layers, *shape[1:]), generator=generator, dtype=torch.float64)
    tokens = (settings.token_std * tokens[: shape[0]]).requires_grad_()
    drawn = torch.rand(shape[0], shape[2], 64, generator=generator)
    projection = ((2 * drawn - 1) / shape[2] ** 0.5).double().requires_grad_()
    optimizer = torch.optim.SGD([tokens, projection], momentum=0.9, weight_decay=settings.weight_decay)

    def forward(shown):
        first, *deeper = (layer @ matrix for layer, matrix in zip(tokens, projection, strict=True))
        text = references.text_features(model, tokenizer, NAMES, first, "end", deeper)
        features = stock_features(model, references.normalised(model.visual, shown), tokens)
        scale = model.logit_scale.exp() / settings.temperature
        return features, (scale * features @ text.T).log_softmax(-1)

    def divergence(clean, attacked):
        return F.kl_div(attacked, clean, log_target=True, reduction="none").sum(-1)

    for epoch in range(settings.epochs):
        optimizer.param_groups[0]["lr"] = settings.lr * (1 + np.cos(np.pi * epoch / settings.epochs)) / 2
        for chosen in torch.randperm(len(images), generator=generator).split(settings.batch_size):
            clean = torch.tensor(images.pixels[chosen]).permute(0, 3, 1, 2).float() / 255
            noise = ImageNoise(0, [f"epoch {epoch}/seed 0/{images.ids[each]}" for each in chosen])
            eps = settings.eps[0] / 255
            attacked = clean + eps * noise.uniform((3, 32, 32), low=-1, high=1)
            _, log_p = forward(clean)
            for _ in range(settings.steps):
                attacked = attacked.detach().requires_grad_()
                divergence(log_p.detach(), forward(attacked)[1]).sum().backward()
                attacked = attacked.detach() + settings.step_ratio * eps / settings.steps * attacked.grad.sign()
                attacked = torch.min(torch.max(attacked, clean - eps), clean + eps).clamp(0, 1)
            optimizer.zero_grad()
            features, log_p = forward(clean)
            features_adv, log_q = forward((attacked * 255).round() / 255)
            similar = 1 + (features * features_adv).sum(-1)
            right = -log_p[torch.arange(len(chosen)), torch.tensor(images.labels[chosen])]
            (right + settings.consistency * similar * divergence(log_p, log_q)).mean().backward()
            optimizer.step()
    return tokens.detach().numpy(), projection.detach().numpy()


@pytest.mark.parametrize("depth", [1, 2])
def test_it_ends_where_a_plain_loop_with_stock_open_clip_ends(images, depth):
    few = images.take(slice(0, 16))
    tuning, generators = exact_tuning_of(few, "fap", **SMALL, clean_fraction=0.0, depth=None if depth == 2 else 1)
    start = tuning.learner.initial["tokens"][0].numpy().copy()
    assert start.shape == (depth, 2, 128)  # of the text tower's 2 blocks, where the image tower has 3
    found = tuned(tuning, generators).arrays
    tokens, projection = plain_fap(tuning.settings, few, start.shape)
    moved = np.abs(tokens - start).max()
    assert moved > 1e-3
    np.testing.assert_allclose(found["tokens"], tokens, atol=1e-4 * moved)
    np.testing.assert_allclose(found["projection"], projection, rtol=1e-4, atol=1e-6)


def test_the_loss_by_hand():
    """Probabilities (1/2, 1/2) of a clean image and (1/4, 3/4) of the attacked one; their features are orthogonal."""
    features = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    logits = torch.tensor([[[0.0, 0.0], [0.0, np.log(3)]]])
    found = Consistency(1.5)(features, logits, torch.tensor([0]))
    divergence = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert found.item() == pytest.approx(np.log(2) + 1.5 * divergence)
    same = torch.stack([logits[:, 0]] * 2, dim=1)
    assert Consistency(1.5)(features, same, torch.tensor([0])).item() == pytest.approx(np.log(2))


def test_the_prompt_file_has_both_sides(vit, images, tmp_path):
    tuning, generators = tuning_of(vit, images.take(slice(0, 16)), "fap", **{**SMALL, "epochs": 1}, depth=None)
    reached = tuned(tuning, generators)
    save_prompts(tmp_path / "prompts.safetensors", prompt_file([reached], tuning, NAMES, {}))
    stored = load_prompts(tmp_path / "prompts.safetensors")
    np.testing.assert_array_equal(stored.projection[0], reached.arrays["projection"])
    model, tokenizer = open_clip.create_model(VIT).eval(), open_clip.get_tokenizer(VIT)
    first, *deeper = torch.tensor(stored.tokens[0]) @ torch.tensor(stored.projection[0])
    with torch.no_grad():
        expected = references.text_features(model, tokenizer, NAMES, first, "end", deeper)
    np.testing.assert_allclose(stored.text_features[0], expected.numpy(), atol=1e-5)


def test_defaults_are_those_of_the_paper():
    block = Fap(kind="fap", eps=[1.0])
    assert (block.steps, block.step_ratio, block.tokens, block.depth) == (2, 2.0, 2, 9)
    assert (block.optimizer, block.lr, block.consistency) == ("sgd", 0.0035, 1.5)


def test_more_layers_than_the_text_tower_has_are_refused(vit, images):
    with pytest.raises(ValueError, match=r"depth: 3; the text tower has 2 blocks: 1 to 2, or null for all of both"):
        tuning_of(vit, images, "fap", depth=3)
