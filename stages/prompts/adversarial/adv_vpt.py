"""Token prompts beside the patches, under hand-written text: adversarial visual prompt tuning."""

import torch
from torch import Tensor

from stages.models.clip import Clip
from stages.models.image_tower import token_prompts_fit
from stages.prompts.adversarial import Encoder
from stages.prompts.learners import Task
from stages.runtime.method_blocks import TokenPrompts


class Learner:
    """Token prompts (S, L, P, W) of the first L blocks of a ViT, from a normal start; see `prompts.adversarial`.

    Source: VPT (Jia et al. 2022), sec. 3.2; TeCoA (Mao et al. 2023), sec. 3.2, for adversarial tuning of it.
    """

    on_images = ("tokens",)
    note = ""

    def __init__(self, task: Task[TokenPrompts]) -> None:
        shape = token_shape(task.clip, task.settings.tokens, task.settings.depth)
        self._hand_written = task.handwritten()[0]
        dtype = task.clip.dtype
        drawn = torch.stack([torch.randn(shape, generator=generator, dtype=dtype) for generator in task.generators])
        self.initial = {"tokens": task.settings.token_std * drawn.to(self._hand_written)}
        self.template = task.template

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        """Return the hand-written text features."""
        return self._hand_written

    def encode_image(self, encode: Encoder, images: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        """Encode the images with the tokens beside their patches."""
        return encode(images, prompts["tokens"].expand(len(images), -1, -1, -1))


def token_shape(clip: Clip, tokens: int, depth: int | None) -> tuple[int, int, int]:
    """Return the shape (L, P, W) of token prompts.

    Args:
        clip: The model.
        tokens: P, of each layer.
        depth: L; None for all blocks of the tower.

    Raises:
        ValueError: If the image tower takes no tokens or has fewer blocks.
    """
    visual = clip.model.visual
    if not token_prompts_fit(visual):
        raise ValueError(
            f"token prompts need the standard ViT of open_clip; the image tower of this model is a "
            f"{type(visual).__name__}: use a pixel prompt (kind: adv_vp or adv_vlp), or a ViT as model.name"
        )
    blocks = len(visual.transformer.resblocks)
    if depth is not None and depth > blocks:
        raise ValueError(f"depth: {depth}; the image tower has {blocks} blocks: 1 to {blocks}, or null for all of them")
    return depth or blocks, tokens, visual.class_embedding.shape[-1]
