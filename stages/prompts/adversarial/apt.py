"""Context vectors alone, the attack renewed in every batch: APT."""

from torch import Tensor

from stages.prompts.adversarial import Encoder
from stages.prompts.learners import Task, context
from stages.runtime.block import Context


class Learner:
    """Context vectors (S, M, D_token), or (S, K, M, D_token) where each class has its own; see `prompts.adversarial`.

    Source: APT (Li et al. 2024), sec. 3.
    """

    on_images = ()

    def __init__(self, task: Task[Context]) -> None:
        self._context = context.Learner(task)
        self.initial = {"context": self._context.initial}
        self.template, self.note = self._context.template, self._context.note

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        """Encode the class names under the context of one seed."""
        return self._context.classifier(parameters["context"][None])[0][0]

    def encode_image(self, encode: Encoder, images: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        """Encode the images as they are."""
        return encode(images)
