"""Count what a prediction of a method costs."""

import torch
from torch import Tensor, nn

from stages.attacks.noise import ImageNoise
from stages.defences.victim import Victim
from stages.evaluation.image_features import draws_of


def count_cost(victim: Victim) -> dict[str, int]:
    """Return the `forwards` and `backwards` of one image through the image tower in one prediction, counted by hooks.

    The towers of these models do the same for every image, so a grey one stands for all. All draws count that a random
    defence votes with.
    """
    clip, passes = victim.clip, {"forwards": 0, "backwards": 0}

    def count_forward(module: nn.Module, inputs: object, features: Tensor) -> None:
        passes["forwards"] += len(features)
        if features.requires_grad:
            features.register_hook(count_backward)

    def count_backward(gradient: Tensor) -> None:
        passes["backwards"] += len(gradient)

    grey = torch.full((1, 3, clip.image_size, clip.image_size), 0.5, device=next(clip.parameters()).device)
    visual = clip.model.visual
    hook = getattr(visual, "transformer", visual).register_forward_hook(count_forward)  # token prompts enter the former
    with torch.no_grad():
        victim(grey, ImageNoise(0, ["cost"]))
    hook.remove()
    return {name: found * draws_of(victim) for name, found in passes.items()}
