"""Whole shards, stored images to stored adversarial images: label-free PGD-10, by batches side by side.

Reading and writing files apart, this is all that `craft` does: noise, attack and the way back to 8 bits.
"""

from collections.abc import Callable, Iterator

import numpy as np
import open_clip
import torch
from torch import Tensor

from reports.studies.benchmarks.measuring import medians
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import feature_kl
from stages.attacks.pgd import pgd
from stages.crafting.batching import even_batches
from stages.crafting.shards import craft_shard
from stages.models.clip import Clip, load_clip
from stages.runtime.params import load_params
from stages.storage.images import Images

EPS, STEPS = 8, 10  # the bank's
IMAGES = {"ViT-B-16": 1024, "ViT-L-14": 256}  # on a GPU, in bf16; the embedded model, in fp32, takes 2,000


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """By model: the embedded one, and on a GPU two of the real size."""
    params = load_params()
    yield from lines("embedded, fp32", load_clip(**params.model.model_dump(), device=device), 2000, device)
    for name, count in IMAGES.items() if device.type == "cuda" and not quick else ():
        clip = Clip(open_clip.create_model(name, device=device), None, {}, precision="bf16")
        yield from lines(f"{name}, bf16", clip, count, device)


def lines(name: str, clip: Clip, count: int, device: torch.device) -> list[dict]:
    """One batch at a time, and two."""
    size, encode, ball = clip.image_size, clip.gradient_encoder(), LinfBall(EPS / 255)
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    shard = Images([str(index) for index in range(count)], np.zeros(count, np.int64), pixels)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        with torch.no_grad():
            clean = encode(images)
        step = 1.25 * ball.eps / STEPS
        return pgd(feature_kl(encode, clean), images, ball=ball, step_size=step, steps=STEPS, noise=noise)

    def craft(workers: int) -> Callable[[], Images]:
        runtime = load_params().runtime.model_copy(update={"workers": workers})
        batching = even_batches(runtime, count, device.type)
        return lambda: craft_shard(attack, shard, ball=ball, seed=0, device=device, batching=batching)

    seconds = medians({workers: craft(workers) for workers in (1, 2)}, rounds=3, device=device)
    return [
        {"model": name, "px": size, "side by side": workers, "images/s": count / taken, "ratio": seconds[1] / taken}
        for workers, taken in seconds.items()
    ]
