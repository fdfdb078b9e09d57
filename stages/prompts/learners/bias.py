"""Class biases, added to the logits of the hand-written prompt: the trivial baseline of every tuned prompt."""

from typing import Any

import torch
from torch import Tensor

from stages.models.clip import Clip
from stages.prompts.context import handwritten
from stages.prompts.text import TextTower


class Learner:
    """Biases (S, K), zero at the start; see `prompts.learners`."""

    note = ""

    def __init__(
        self,
        settings: dict[str, Any],
        class_names: list[str],
        template: str,
        clip: Clip,
        generators: list[torch.Generator],
    ) -> None:
        with torch.no_grad():
            self._hand_written = handwritten(template, class_names, TextTower(clip.model, clip.tokenizer))  # (1, K, D)
        self.initial = self._hand_written.new_zeros(len(generators), len(class_names))
        self.template = template

    def classifier(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the text features of the hand-written prompt, the same for all seeds, and the biases."""
        return self._hand_written.expand(len(parameters), -1, -1), parameters

    def arrays(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return nothing: the biases are in the classifier."""
        return {}
