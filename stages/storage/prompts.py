"""Prompts on disk: safetensors that plain open_clip can use without this project."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.storage.checksum import reading
from stages.storage.tensors import load_arrays, save_arrays

ENTRY = "prompts"  # of the metadata
OPTIONAL = {  # attributes that not every method has, and what their arrays are called
    "context": "context",
    "logit_bias": "logit_bias",
    "pixels": "image_prompt.pixels",
}


@dataclass(frozen=True)
class PromptFile:
    """The outcome of tuning, or the hand-written prompt.

    Attributes:
        text_features: (S, K, D), float32, unit norm; S tuning seeds, 1 for the hand-written prompt.
        logit_scale: The factor in front of the cosine.
        class_names: K names.
        template: How a prompt reads, the context as [M], the class as {}.
        provenance: What made it.
        context: (S, M, D_token) or (S, K, M, D_token); None for what has none.
        logit_bias: (S, K), added to the logits; None for zeros.
        pixels: (S, 3, H, W), added to every image at the model's size, in units of the pixel range; None for zeros.
    """

    text_features: np.ndarray
    logit_scale: float
    class_names: list[str]
    template: str
    provenance: dict
    context: np.ndarray | None = None
    logit_bias: np.ndarray | None = None
    pixels: np.ndarray | None = None


def save_prompts(path: Path, prompts: PromptFile) -> None:
    """Write prompts; everything that is no tensor goes as JSON under the one metadata key `prompts`."""
    arrays = {"text_features": prompts.text_features, "logit_scale": np.array([prompts.logit_scale], np.float32)}
    arrays |= {name: array for own, name in OPTIONAL.items() if (array := getattr(prompts, own)) is not None}
    about = {"class_names": prompts.class_names, "template": prompts.template, "provenance": prompts.provenance}
    save_arrays(path, arrays, entry=ENTRY, about=about)


def load_prompts(path: Path) -> PromptFile:
    """Read prompts; a ValueError names a file that is missing, damaged, or has no prompts."""
    arrays, about = load_arrays(path, entry=ENTRY)
    with reading(path):
        scale = float(arrays["logit_scale"][0])
        optional: dict[str, Any] = {own: arrays.get(name) for own, name in OPTIONAL.items()}
        return PromptFile(arrays["text_features"], scale, **about, **optional)
