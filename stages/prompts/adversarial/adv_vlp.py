"""A pixel prompt and context vectors, tuned together: adversarial visual and language prompting."""

from typing import Any

from torch import Tensor

from stages.prompts.adversarial import Encoder, adv_vp, adv_vpt, apt
from stages.prompts.learners import Task


class Learner:
    """The image prompt of `of_images` and the context vectors of `apt`; see `prompts.adversarial`."""

    of_images: type[adv_vp.Learner] | type[adv_vpt.Learner] = adv_vp.Learner
    on_images: tuple[str, ...] = adv_vp.Learner.on_images

    def __init__(self, task: Task[Any]) -> None:
        self._image = self.of_images(task)
        self._text = apt.Learner(task)
        self.initial = self._image.initial | self._text.initial
        self.template, self.note = self._text.template, self._text.note

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        """Encode the class names under the context of one seed."""
        return self._text.text_features(parameters)

    def encode_image(self, encode: Encoder, images: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        """Encode the images under the image prompt."""
        return self._image.encode_image(encode, images, prompts)
