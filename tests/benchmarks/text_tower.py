"""A tuning step's text features and context gradient, ViT-B/16's text tower, random weights: packed against padded."""

import open_clip
import torch

from stages.prompts.context import assemble, initial_context
from stages.prompts.text import TextTower
from tests.benchmarks.measuring import flops, matrix_peak, medians
from tests.references import text_features

NAMES = open_clip.IMAGENET_CLASSNAMES
REFERENCE_UP_TO = 102  # classes; at 1,000 it would keep 36 GB


def run(device: torch.device, *, quick: bool) -> list[dict]:
    """By classes at context 16, then by context at 37 classes."""
    clip = open_clip.create_model("ViT-B-16").eval().requires_grad_(False).to(device)
    tower = TextTower(clip, open_clip.get_tokenizer("ViT-B-16"))
    peak = matrix_peak(device, torch.float32)
    cases = [(10, 16), (37, 16)] if quick else [(10, 16), (37, 16), (102, 16), (1000, 16), (37, 4), (37, 32)]
    return [measured(clip, tower, classes, context, peak, device) for classes, context in cases]


def measured(clip, tower: TextTower, classes: int, length: int, peak: float, device: torch.device) -> dict:
    """One line of the table."""
    names = NAMES[:classes]
    layout = assemble(names, tower, context_length=length, class_position="end", class_specific=False)
    generators = [torch.Generator().manual_seed(0)]
    context = initial_context(
        tower, context_length=length, words=None, std=0.02, classes=None, generators=generators
    ).requires_grad_()
    weight = torch.randn(1, classes, clip.text_projection.shape[1], generator=torch.Generator().manual_seed(1)).to(
        device
    )

    def tokenizer(texts):
        return open_clip.tokenize(texts).to(device)

    def packed():
        return torch.autograd.grad((layout.text_features(context, tower) * weight).sum(), context)

    def padded():
        features = text_features(clip, tokenizer, names, context[0], "end")
        return torch.autograd.grad((features * weight[0]).sum(), context)

    ways = {"packed": packed} | ({"padded": padded} if classes <= REFERENCE_UP_TO else {})
    seconds = medians(ways, rounds=3 if classes <= REFERENCE_UP_TO else 1, device=device)
    reference = seconds.get("padded")
    return {
        "classes": classes,
        "context": length,
        "packed s": seconds["packed"],
        "padded s": reference,
        "ratio": reference and reference / seconds["packed"],
        "share of peak": flops(packed) / seconds["packed"] / peak,
    }
