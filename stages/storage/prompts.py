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
    "tokens": "image_prompt.tokens",
    "projection": "image_prompt.projection",
    "router": "router.weights",
    "experts": "router.text_features",
}


@dataclass(frozen=True)
class PromptFile:
    """The outcome of tuning with S seeds, or the hand-written prompt with one; of K classes."""

    text_features: np.ndarray  # (S, K, D), float32, unit norm
    logit_scale: float  # the factor in front of the cosine
    class_names: list[str]
    template: str  # how a prompt reads, the context as [M], the class as {}
    provenance: dict
    context: np.ndarray | None = None  # (S, M, D_token) or (S, K, M, D_token)
    logit_bias: np.ndarray | None = None  # (S, K), added to the logits
    pixels: np.ndarray | None = None  # (S, 3, H, W), added to images at the model's size, in units of the pixel range
    tokens: np.ndarray | None = None  # (S, L, P, W), P token prompts of the first L blocks of a ViT of width W
    projection: np.ndarray | None = None  # (S, L, W, D_token), from token prompts to tokens of the text tower
    router: np.ndarray | None = None  # (S, R, D), mixes R contexts for each image, see `routed_logits`
    experts: np.ndarray | None = None  # (S, R, K, D), what the router mixes; `text_features` is their mean

    @property
    def has_image_prompt(self) -> bool:
        """Return whether image features depend on the prompts."""
        return self.pixels is not None or self.tokens is not None


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
