"""Suite: gradients that the adaptive suite takes, against its attacks one by one on all images.

On test images of `fashion`, which `dvc repro` has to have stored, with the settings of the default's adaptive threats.
A gradient is one backward pass of one image through the method. One by one, each attack runs on each image with all of
its steps, and an image counts as fooled if it is misclassified clean or where one of the attacks ends. The accuracy
under the suite is a lower bound of the ratio: an image that no attack fools takes every gradient of each.
"""

from collections.abc import Iterator
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from stages.attacks.eight_bit import through_8_bits
from stages.attacks.noise import ImageNoise
from stages.crafting.suite import among_copies, fooled_by, ignoring_places, rounds_of_pgd, rounds_through, suite_attack
from stages.defences.victim import Victim
from stages.evaluation.load import load_victim
from stages.evaluation.subset import draw_from
from stages.models.device import to_tensor
from stages.runtime.params import Suite, load_params
from stages.storage.card import read_card
from stages.storage.images import Images
from stages.storage.layout import clean_images, prompts_file

DATASET = "fashion"
METHODS = {"zero_shot": "zero_shot", "pixel_prompt": "adversarial"}  # and their groups


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """Yield a row for each method and adaptive threat."""
    params, source = load_params(), clean_images(DATASET, "test")
    threats = {name: block for name, block in params.adaptive.items() if isinstance(block, Suite)}
    classes = range(len(read_card(DATASET).class_names))
    images = draw_from(source, classes, 20 if quick else 100, seed=params.seed).images()
    for method, group in METHODS.items():
        victim = load_victim(prompts_file(DATASET, "all", group, method), device=device.type)
        for threat, settings in threats.items():
            yield {"method": method, "threat": threat, **measured(victim, images, settings, params.seed)}


def measured(victim: Victim, shard: Images, settings: Suite, seed: int) -> dict:
    """Attack the images in both ways, as one batch; the method is neither random nor defended."""
    images = to_tensor(shard.pixels, victim.text_features.device)
    labels = torch.tensor(shard.labels, device=images.device)
    counts = []

    def count(images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        if images.requires_grad:
            images.register_hook(lambda gradient: counts.append(len(gradient)))
        return images

    victim.process = count  # type: ignore[method-assign]
    wrong = fooled_by(through_8_bits(among_copies(victim, images)), labels)
    everywhere = torch.arange(len(images), device=images.device)
    found = suite_attack(settings, victim)(images, labels, ImageNoise(seed, shard.ids))
    suite, fooled = sum(counts), wrong(found, everywhere)
    counts.clear()
    fooled_by_one = wrong(images, everywhere)
    seen, noise = ignoring_places(among_copies(victim, images)), ImageNoise(seed, shard.ids)
    ascend = partial(rounds_of_pgd, settings=settings, images=images, noise=noise)
    classes = len(victim.class_names)
    rounds = rounds_through("", seen, ascend, settings=settings, images=images, labels=labels, classes=classes)
    images_adv = images
    for _, quarters in groupby(rounds, key=lambda one: one.name):
        for one in quarters:
            images_adv = one.attempt(images_adv, everywhere)
        fooled_by_one = fooled_by_one | wrong(images_adv, everywhere)
    del victim.process
    return {
        "images": len(images),
        "gradients one by one": sum(counts),
        "gradients of the suite": suite,
        "ratio": suite / sum(counts),
        "accuracy one by one": 1 - fooled_by_one.float().mean().item(),
        "accuracy under the suite": 1 - fooled.float().mean().item(),
        "images with another outcome": int((fooled != fooled_by_one).sum()),
    }
