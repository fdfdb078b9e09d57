"""MoAPT: contexts that a router mixes for each image, against a plain loop, and from file to victim to predictions."""

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from stages.adversarial import prompt_file
from stages.crafting.embedding import embed_shard
from stages.evaluation.load import victim_of
from stages.evaluation.study import predictions_table
from stages.models.logits import exact_routed_logits, routed_logits
from stages.runtime.params import load_params
from stages.storage.prompts import load_prompts, save_prompts
from tests import references
from tests.crafting.test_adversarial import CPU, NAMES, RUNTIME, exact_tuning_of, tuned, tuning_of

SMALL = {"batch_size": 50, "epochs": 2, "tuning_seeds": 1, "warmup_epochs": 0, "text_lr": 0.5, "context_length": 2}


def mixed_by_hand(features, experts, router, scale):
    """Logits (N, K), image by image."""
    lines = []
    for feature in F.normalize(features, dim=-1):
        shares = (router @ feature).softmax(0)
        mixture = sum(share * expert for share, expert in zip(shares, experts, strict=True))  # (K, D)
        lines.append(scale * mixture @ feature)
    return torch.stack(lines)


def test_logits_are_those_of_the_mixture_of_text_features():
    draw = torch.Generator().manual_seed(0)
    features, router = (torch.randn(count, 8, generator=draw, dtype=torch.float64) for count in (5, 3))
    experts = F.normalize(torch.randn(3, 4, 8, generator=draw, dtype=torch.float64), dim=-1)
    expected = mixed_by_hand(features, experts, 5 * router, 10.0)
    torch.testing.assert_close(routed_logits(features, experts, 5 * router, 10.0), expected)
    exact = exact_routed_logits(features.numpy(), experts.numpy(), 5 * router.numpy(), 10.0)
    np.testing.assert_allclose(exact, expected.numpy(), atol=1e-5)
    one = exact_routed_logits(features.numpy()[3:4], experts.numpy(), 5 * router.numpy(), 10.0)
    assert one.tobytes() == exact[3:4].tobytes()


def test_a_step_on_clean_images_is_that_of_a_plain_loop(images):
    """One step of SGD on contexts and router together, all in float64."""
    changes = {**SMALL, "batch_size": 100, "epochs": 1, "clean_fraction": 1.0, "weight_decay": 0.0}
    tuning, generators = exact_tuning_of(images, "moapt", **changes)
    context, router = (tuning.learner.initial[name][0].clone().requires_grad_() for name in ("context", "router"))
    assert context.shape == (8, 64) and router.shape[0] == 4  # 4 contexts of 2 vectors
    found = tuned(tuning, generators).arrays
    folder = load_params().model.name
    model, tokenizer = open_clip.create_model(folder).double().eval(), open_clip.get_tokenizer(folder)
    shown = references.normalised(model.visual, torch.tensor(images.pixels).permute(0, 3, 1, 2).double() / 255)
    texts = [references.text_features(model, tokenizer, NAMES, part, "end") for part in context.split(2)]
    scale = model.logit_scale.exp() / tuning.settings.temperature
    logits = mixed_by_hand(model.encode_image(shown), texts, router, scale)
    F.cross_entropy(logits, torch.tensor(images.labels)).backward()
    for name, parameter in (("context", context), ("router", router)):
        assert parameter.grad.abs().max() > 1e-6
        expected = (parameter - 0.5 * parameter.grad).detach().numpy()
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-7)


def test_file_victim_and_predictions_agree_and_the_router_counts(clip, images, tmp_path):
    tuning, generators = tuning_of(clip, images, "moapt", **{**SMALL, "tuning_seeds": 2})
    reached = [tuned(tuning, generators, index) for index in range(2)]
    for one in reached:
        one.arrays["router"] *= 100  # a router that decides
    save_prompts(tmp_path / "prompts.safetensors", prompt_file(reached, tuning, NAMES, {}))
    stored = load_prompts(tmp_path / "prompts.safetensors")
    assert stored.experts.shape[:3] == (2, 4, 3) and stored.text_features.shape[:2] == (2, 3)
    shown = torch.tensor(images.pixels).permute(0, 3, 1, 2).float() / 255
    bank = embed_shard(clip, images, device=CPU, runtime=RUNTIME)
    for seed in range(2):
        victim = victim_of(stored, clip, seed=seed)
        with torch.no_grad():
            logits = victim(shown)
            expected = mixed_by_hand(
                clip.encode_image(shown), victim.text_features, torch.tensor(stored.router[seed]), stored.logit_scale
            )
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(victim.undefended()(shown), logits)
        rows = predictions_table(bank, stored, title="t", threat="clean", method="moapt", seed=seed).to_pandas()
        right = logits[torch.arange(100), torch.from_numpy(images.labels)]
        others = logits.scatter(1, torch.from_numpy(images.labels)[:, None], -torch.inf).amax(1)
        np.testing.assert_allclose(rows["margin"], right - others, atol=1e-3)
        uniform = stored.logit_scale * F.normalize(clip.encode_image(shown), dim=-1) @ victim.text_features.mean(0).T
        assert not torch.allclose(logits, uniform, atol=1e-2)


def test_an_attack_goes_through_the_router(clip, images):
    """With experts that are all the same only the router's own gradient is left out: here they differ, and it is in."""
    tuning, _ = tuning_of(clip, images, "moapt", **SMALL)
    prompts = {name: tensor[0] for name, tensor in tuning.learner.initial.items()}
    prompts["router"] = 100 * prompts["router"]
    text = 10 * tuning.learner.text_features(prompts).detach()
    features = clip.encode_image(torch.tensor(images.pixels[:8]).permute(0, 3, 1, 2).float() / 255).detach()
    features.requires_grad_()
    (found,) = torch.autograd.grad(tuning.logits(features, text, prompts)[:, 0].sum(), features)
    shares = (F.normalize(features, dim=-1) @ prompts["router"].T).softmax(-1).detach()
    scale = clip.logit_scale / tuning.settings.temperature
    fixed = (scale * F.normalize(features, dim=-1)[:, None] * (shares[..., None] * text[:, 0]).sum(1)[:, None]).sum()
    (without,) = torch.autograd.grad(fixed, features)
    assert not torch.allclose(found, without, rtol=0.05)
