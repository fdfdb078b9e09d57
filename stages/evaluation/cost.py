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

    def count(of: str, images: int) -> None:
        passes[of] += images

    def counts_passes(module: nn.Module, inputs: object, features: Tensor) -> None:
        count("forwards", len(features))
        if features.requires_grad:
            features.register_hook(lambda gradient: count("backwards", len(gradient)))

    visual = clip.model.visual
    hook = getattr(visual, "transformer", visual).register_forward_hook(counts_passes)  # which token prompts enter
    try:
        device = next(clip.parameters()).device
        with torch.no_grad():
            victim(torch.full((1, 3, clip.image_size, clip.image_size), 0.5, device=device), ImageNoise(0, ["cost"]))
    finally:
        hook.remove()
    return {name: found * draws_of(victim) for name, found in passes.items()}
