"""Label-free PGD, random weights: fast in fp32 and bf16 against a plain loop whose parameters take gradients.

`frozen` is that plain loop through weights that take none.
"""

import copy
from collections.abc import Iterator

import open_clip
import torch
from torch import Tensor

from reports.studies.benchmarks.measuring import flops, matrix_peak, medians
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import feature_kl
from stages.attacks.pgd import pgd
from stages.models.clip import Clip
from tests.references import feature_attack

EPS, STEPS = 8 / 255, 10  # the bank's
BATCH = {"cpu": 2, "cuda": 64}
LARGE_BATCH = 16  # of ViT-L-14, on a GPU


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """By architecture."""
    names = ["ViT-B-32"] if quick else ["ViT-B-32", "ViT-B-16", "RN50"]
    if device.type == "cuda" and not quick:
        names.append("ViT-L-14")
    peaks = {dtype: matrix_peak(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    yield from (measured(name, peaks, device) for name in names)


def measured(name: str, peaks: dict[torch.dtype, float], device: torch.device) -> dict:
    count = LARGE_BATCH if name == "ViT-L-14" else BATCH[device.type]
    images = torch.rand(count, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    start = (images + torch.empty_like(images).uniform_(-EPS, EPS)).clamp(0, 1)
    plain = open_clip.create_model(name, device=device).eval()
    mean, std = (
        torch.tensor(v, device=device).view(3, 1, 1) for v in (plain.visual.image_mean, plain.visual.image_std)
    )
    clips = {precision: Clip(copy.deepcopy(plain), None, {}, precision=precision) for precision in ("fp32", "bf16")}
    encoders = {precision: clip.gradient_encoder() for precision, clip in clips.items()}

    def reference(*, frozen: bool) -> Tensor:
        plain.requires_grad_(not frozen)
        return feature_attack(
            plain, lambda x: plain.encode_image((x - mean) / std), images, start, eps=EPS, steps=STEPS
        )

    def fast(precision: str) -> Tensor:
        encode = encoders[precision]
        noise = ImageNoise(0, [str(index) for index in range(count)])
        with torch.no_grad():
            clean = encode(images)
        objective = feature_kl(encode, clean)
        step = 1.25 * EPS / STEPS
        return pgd(objective, images, ball=LinfBall(EPS), step_size=step, steps=STEPS, noise=noise, start=start)

    ways = {
        "reference": lambda: reference(frozen=False),
        "frozen": lambda: reference(frozen=True),
        "fp32": lambda: fast("fp32"),
        "bf16": lambda: fast("bf16"),
    }
    seconds = medians(ways, rounds=3, device=device)
    work = flops(ways["fp32"])
    return {
        "model": name,
        # of an image at a step; the clean pass is included
        **{f"{way} gradients/s": count * STEPS / taken for way, taken in seconds.items()},
        **{f"{way} ratio": seconds["reference"] / seconds[way] for way in ("frozen", "fp32", "bf16")},
        "fp32 share of peak": work / seconds["fp32"] / peaks[torch.float32],
        "bf16 share of peak": work / seconds["bf16"] / peaks[torch.bfloat16],
    }
