"""A tuning step's text features and context gradient, ViT-B/16's text tower, random weights: packed against padded."""

from collections.abc import Callable, Iterator

import open_clip
import torch
from torch import Tensor, nn

from reports.studies.benchmarks.measuring import flops, in_own_process, matrix_peak, medians, peak_megabytes
from stages.models.context import assemble, initial_context
from stages.models.device import graphed
from stages.models.text_tower import TextTower
from tests.references import text_features

NAMES = open_clip.IMAGENET_CLASSNAMES
REFERENCE_UP_TO = {"cpu": 102, "cuda": 1000}  # classes; at 1,000 it keeps 36 GB


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """By classes at context 16, then by context at 37 classes."""
    clip = clip_on(device)
    peak = matrix_peak(device, torch.float32)
    cases = [(10, 16), (37, 16)] if quick else [(10, 16), (37, 16), (102, 16), (1000, 16), (37, 4), (37, 32)]
    for case in cases:
        yield {**measured(clip, *case, peak, device), "peak MB": in_own_process(peak_of_step, *case, device)}


def clip_on(device: torch.device) -> nn.Module:
    return open_clip.create_model("ViT-B-16").eval().requires_grad_(False).to(device)


def peak_of_step(classes: int, length: int, device: torch.device) -> float:
    """The most memory of a process that loads a CLIP and makes one packed step."""
    torch.set_num_threads(1)
    clip = clip_on(device)
    gradient(*packed(clip, classes, length, device))
    return peak_megabytes(device)


def packed(clip: nn.Module, classes: int, length: int, device: torch.device) -> tuple[Callable, Tensor]:
    """The text features as a function of the context, and a random context (1, M, D_token)."""
    tower = TextTower(clip, open_clip.get_tokenizer("ViT-B-16"))
    layout = assemble(NAMES[:classes], tower, context_length=length, class_position="end", class_specific=False)
    generators = [torch.Generator().manual_seed(0)]
    context = initial_context(tower, context_length=length, words=None, std=0.02, classes=None, generators=generators)
    return lambda context: layout.text_features(context, tower), context.to(device).requires_grad_()


def gradient(features_of: Callable[[Tensor], Tensor], context: Tensor) -> Tensor:
    """Of one fixed sum of the features."""
    features = features_of(context)
    weight = torch.linspace(-1, 1, features.numel(), device=context.device).view(features.shape)
    return torch.autograd.grad((features * weight).sum(), context)[0]


def measured(clip: nn.Module, classes: int, length: int, peak: float, device: torch.device) -> dict:
    features_of, context = packed(clip, classes, length, device)
    ways = {"packed": lambda: gradient(features_of, context)}
    if device.type == "cuda":
        recorded, _ = graphed(features_of, context)
        ways["graphed"] = lambda: gradient(recorded, context)
    has_reference = classes <= REFERENCE_UP_TO[device.type]
    if has_reference:

        def padded(context: Tensor) -> Tensor:
            return text_features(clip, open_clip.tokenize, NAMES[:classes], context[0], "end")

        ways["padded"] = lambda: gradient(padded, context)
    seconds = medians(ways, rounds=3 if has_reference else 1, device=device)
    reference, work = seconds.get("padded"), flops(ways["packed"])
    return {
        "classes": classes,
        "context": length,
        **{f"{way} s": seconds.get(way) for way in dict.fromkeys([*ways, "padded"])},
        "ratio": reference and reference / min(seconds[way] for way in ways if way != "padded"),
        "share of peak": work / seconds["packed"] / peak,
    }
