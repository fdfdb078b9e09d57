"""Prompts on disk: safetensors that plain open_clip can use without this project."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.storage.checksum import REMEDY
from stages.storage.tensors import load_arrays, save_arrays

ENTRY = "prompts"  # of the metadata


@dataclass(frozen=True)
class PromptFile:
    """The outcome of tuning, or the hand-written prompt.

    Attributes:
        text_features: (S, K, D), float32, unit norm; S tuning seeds, 1 for the hand-written prompt.
        logit_scale: The factor in front of the cosine.
        class_names: K names.
        template: How a prompt reads, the context as [M], the class as {}.
        provenance: What made it.
        context: (S, M, D_token) or (S, K, M, D_token); None for the hand-written prompt.
    """

    text_features: np.ndarray
    logit_scale: float
    class_names: list[str]
    template: str
    provenance: dict
    context: np.ndarray | None = None

    def of_classes(self, labels: np.ndarray) -> "PromptFile":
        """The prompts of some classes alone (K',); a shared context stays, one of each class is chosen from."""
        context = self.context if self.context is None or self.context.ndim == 3 else self.context[:, labels]
        names = [self.class_names[label] for label in labels]
        return replace(self, text_features=self.text_features[:, labels], class_names=names, context=context)


def save_prompts(path: Path, prompts: PromptFile) -> None:
    """Writes prompts; everything that is no tensor goes as JSON under the one metadata key `prompts`."""
    arrays = {"text_features": prompts.text_features, "logit_scale": np.array([prompts.logit_scale], np.float32)}
    if prompts.context is not None:
        arrays["context"] = prompts.context
    about = {"class_names": prompts.class_names, "template": prompts.template, "provenance": prompts.provenance}
    save_arrays(path, arrays, entry=ENTRY, about=about)


def load_prompts(path: Path) -> PromptFile:
    """Reads prompts.

    Raises:
        ValueError: If the file is missing, damaged, or has no prompts.
    """
    arrays, about = load_arrays(path, entry=ENTRY)
    try:
        scale = float(arrays["logit_scale"][0])
        return PromptFile(arrays["text_features"], scale, **about, context=arrays.get("context"))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: no prompts of this project ({error}); {REMEDY}") from error
