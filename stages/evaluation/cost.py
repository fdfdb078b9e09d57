"""Count what a prediction of a method costs."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from stages.attacks.noise import ImageNoise
from stages.defences.victim import Victim
from stages.evaluation.image_features import draws_of


def count_cost(victim: Victim) -> dict[str, int]:
    """Return the passes that one prediction of one image takes, counted by hooks.

    `forwards` and `backwards` are those of the image tower. `text` is the number of passes of the text tower, forward
    and backward, each over the texts of all classes, where a defence tunes them for the image. The towers of these
    models do the same for every image, so a grey one stands for all. All draws count that a random defence votes with.
    """
    clip, passes = victim.clip, {"forwards": 0, "backwards": 0, "text": 0}

    def counting(forwards: str, backwards: str) -> Callable[..., None]:
        def add(name: str, found: Tensor) -> None:
            passes[name] += len(found)

        def hook(module: nn.Module, inputs: object, features: Tensor) -> None:
            add(forwards, features)
            if features.requires_grad:
                features.register_hook(partial(add, backwards))

        return hook

    grey = torch.full((1, 3, clip.image_size, clip.image_size), 0.5, device=next(clip.parameters()).device)
    image_tower = getattr(clip.model.visual, "transformer", clip.model.visual)  # token prompts enter the former
    hooks = [image_tower.register_forward_hook(counting("forwards", "backwards"))]
    # a context enters the blocks of the text tower, but always leaves through this norm; without one none is tuned
    last_norm = getattr(getattr(clip.model, "text", clip.model), "ln_final", None)
    if last_norm is not None:
        hooks.append(last_norm.register_forward_hook(counting("text", "text")))
    with torch.no_grad():
        victim(grey, ImageNoise(0, ["cost"]))
    for hook in hooks:
        hook.remove()
    return {name: found * draws_of(victim) for name, found in passes.items()}
