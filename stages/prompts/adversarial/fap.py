"""Token prompts in both towers, those of the text projected from those of the image: FAP."""

import torch
from torch import Tensor

from stages.models.context import arrangement, assemble, readable
from stages.prompts.adversarial import adv_vpt
from stages.prompts.learners import Task
from stages.runtime.method_blocks import TokenPrompts


class Learner(adv_vpt.Learner):
    """Token prompts (S, L, P, W) and their projections (S, L, W, D_token) to the text tower; see `prompts.adversarial`.

    The text tokens of layer l are the image tokens of layer l times projection l. They stand in front of the class
    names: at the input of the text tower as a context, in block l in place of what the block before made of them.

    Source: FAP (Zhou et al. 2024), sec. 3; there the first layer is projected from the text to the image.
    """

    def __init__(self, task: Task[TokenPrompts]) -> None:
        super().__init__(task)
        self._tower = task.tower
        if not self._tower.is_fast:
            raise ValueError("kind: fap needs the standard text tower of open_clip; use adv_vlpt with this model")
        most, depth, tokens = self._tower.depth, task.settings.depth, task.settings.tokens
        if depth is not None and depth > most:
            raise ValueError(f"depth: {depth}; the text tower has {most} blocks: 1 to {most}, or null for all of both")
        self._prompts = assemble(
            task.class_names, self._tower, context_length=tokens, class_position="end", class_specific=False
        )
        image_tokens = self.initial["tokens"][:, :most]
        shape = (image_tokens.shape[1], image_tokens.shape[-1], self._tower.width)
        drawn = torch.stack([torch.rand(shape, generator=generator) for generator in task.generators])
        bound = shape[1] ** -0.5  # that of torch's linear layers
        self.initial = {"tokens": image_tokens, "projection": bound * (2 * drawn - 1).to(image_tokens)}
        self.template = readable(arrangement(tokens, "end"))

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        """Encode the class names behind the projected tokens of one seed."""
        first, *deeper = parameters["tokens"] @ parameters["projection"]  # (P, D_token) each
        return self._prompts.text_features(first[None], self._tower, deeper=[layer[None] for layer in deeper])[0]
