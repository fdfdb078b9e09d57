"""A pixel prompt under hand-written text: adversarial visual prompting."""

import torch
from torch import Tensor

from stages.prompts.adversarial import Encoder
from stages.prompts.learners import Task
from stages.runtime.method_blocks import PixelPrompt


class Learner:
    """A pixel prompt (S, 3, H, W) that starts from zero; see `prompts.adversarial`.

    Source: Bahng et al. 2022 (visual prompting); TeCoA (Mao et al. 2023), sec. 3.2, for adversarial tuning of it.
    """

    on_images = ("pixels",)
    note = ""

    def __init__(self, task: Task[PixelPrompt]) -> None:
        self._hand_written = task.handwritten()[0]
        self._mask = frame_mask(task.settings.frame, task.clip.image_size).to(self._hand_written)  # (H, W)
        self.initial = {"pixels": self._mask.new_zeros(len(task.generators), 3, *self._mask.shape)}
        self.template = task.template

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        """Return the hand-written text features."""
        return self._hand_written

    def encode_image(self, encode: Encoder, images: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        """Encode the sum of images and pixel prompt, which is not clipped."""
        return encode(images + self._mask * prompts["pixels"])


def frame_mask(frame: int | None, image_size: int) -> Tensor:
    """Return a mask (H, W) of ones where a pixel prompt is free and zeros elsewhere.

    Args:
        frame: Width of a border, in pixels; None for the whole image.
        image_size: H and W.

    Raises:
        ValueError: If the border leaves no pixel inside.
    """
    mask = torch.ones(image_size, image_size)
    if frame is None:
        return mask
    if 2 * frame >= image_size:
        raise ValueError(
            f"frame: {frame} px; a frame inside the {image_size} px of this model's images has 1 to "
            f"{(image_size - 1) // 2} px; null is the whole image"
        )
    mask[frame:-frame, frame:-frame] = 0
    return mask
