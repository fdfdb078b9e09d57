"""Adversarial tuning of a pixel prompt, random weights: PGD-3 through it, then a step, in fp32 and with bf16 attacks.

The reference is a plain loop through open_clip's modules, whose parameters take gradients.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from reports.studies.benchmarks.measuring import Way, medians
from stages.crafting.adversarial import Tuning
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.prompts.adversarial import learner_of
from stages.prompts.learners import Task
from stages.runtime.method_blocks import AdvVp
from stages.runtime.params import load_params
from stages.storage.images import Images

NAMES = ["bag", "coat", "dress", "shirt"]
EPS, STEPS, RATIO = 4 / 255, 3, 2.0
IMAGES = {"cpu": 32, "cuda": 256}  # of one batch


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """By architecture."""
    yield from (measured(name, device, IMAGES[device.type]) for name in ("ViT-B-32", "RN50")[: 1 if quick else 2])


def measured(name: str, device: torch.device, count: int) -> dict:
    drawn = np.random.default_rng(0)
    model = open_clip.create_model(name, device=device).eval()
    size = model.visual.preprocess_cfg["size"]
    pixels = drawn.integers(0, 256, (count, *((size, size) if isinstance(size, int) else size), 3), np.uint8)
    images = Images([str(index) for index in range(count)], drawn.integers(0, len(NAMES), count), pixels)
    tokenizer = open_clip.get_tokenizer(name)
    clips = {precision: Clip(deepcopy(model), tokenizer, {}, precision=precision) for precision in ("fp32", "bf16")}
    tunings = {precision: tuning_of(clip, images, device) for precision, clip in clips.items()}
    ways: dict[str, Way] = {"reference": lambda: plain_step(model, images, tunings["fp32"], device)}
    ways |= {precision: partial(tune, tuning) for precision, tuning in tunings.items()}
    seconds = medians(ways, rounds=3, device=device)
    return {
        "model": name,
        "images": count,
        **{f"{way} images/s": count / taken for way, taken in seconds.items()},
        **{f"{way} ratio": seconds["reference"] / seconds[way] for way in tunings},
    }


def tuning_of(clip: Clip, images: Images, device: torch.device) -> Tuning:
    """One epoch of one batch, the prompt in the whole image."""
    settings = AdvVp(
        kind="adv_vp", eps=[255 * EPS], steps=STEPS, step_ratio=RATIO, tuning_seeds=1, epochs=1, batch_size=len(images)
    )
    learner = learner_of(
        Task(settings.kind, settings, NAMES, "a photo of a {}.", clip, [torch.Generator().manual_seed(0)])
    )
    runtime = load_params().runtime.model_copy(update={"workers": 1})
    return Tuning(learner, clip, settings, images, 0, device, runtime)


def tune(tuning: Tuning) -> None:
    list(tuning.tune(0, torch.Generator().manual_seed(0)))


def plain_step(model: Any, images: Images, tuning: Tuning, device: torch.device) -> None:
    """The same batch by a plain loop; the text features are given, for they do not change."""
    clean, labels = to_tensor(images.pixels, device), torch.tensor(images.labels, device=device)
    visual = model.visual
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (visual.image_mean, visual.image_std))
    prompt = torch.zeros_like(clean[0], requires_grad=True)
    assert isinstance(tuning.settings, AdvVp)
    optimizer = torch.optim.Adam([prompt], lr=tuning.settings.lr)
    text_features = tuning.learner.text_features({})

    def loss_of(attacked: Tensor) -> Tensor:
        features = F.normalize(model.encode_image((attacked + prompt - mean) / std), dim=-1)
        return F.cross_entropy(model.logit_scale.exp() * features @ text_features.T, labels)

    attacked = clean + torch.empty_like(clean).uniform_(-EPS, EPS)
    for _ in range(STEPS):
        attacked = attacked.detach().requires_grad_()
        loss_of(attacked).backward()
        assert attacked.grad is not None
        attacked = attacked.detach() + RATIO * EPS / STEPS * attacked.grad.sign()
        attacked = torch.min(torch.max(attacked, clean - EPS), clean + EPS).clamp(0, 1)
    optimizer.zero_grad()
    model.zero_grad()
    loss_of(attacked.detach()).backward()
    optimizer.step()
