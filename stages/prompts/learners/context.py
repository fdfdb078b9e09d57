"""Context vectors in front of, behind or around the class names: CoOp and AdvPT."""

from torch import Tensor

from stages.models.context import LAYOUT, arrangement, assemble, initial_context, readable
from stages.prompts.learners import Task
from stages.runtime.block import Context


class Learner:
    """Context vectors (S, M, D_token), or (S, K, M, D_token) where each class has its own; see `prompts.learners`.

    Source: CoOp (Zhou et al. 2022), sec. 3.2.
    """

    def __init__(self, task: Task[Context]) -> None:
        self._tower, settings = task.tower, task.settings
        self._prompts = assemble(task.class_names, self._tower, **settings.model_dump(include=LAYOUT))
        self.initial = initial_context(
            self._tower,
            context_length=settings.context_length,
            words=settings.init_words,
            std=settings.init_std,
            classes=len(task.class_names) if settings.class_specific else None,
            generators=task.generators,
        )
        self.template = readable(arrangement(settings.context_length, settings.class_position))
        slow = ", slowly: the blocks of this text tower are not open_clip's standard ones"
        self.note = "" if self._tower.is_fast else slow

    def classifier(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the class names under the contexts; there is no bias."""
        text_features = self._prompts.text_features(parameters, self._tower)
        return text_features, text_features.new_zeros(text_features.shape[:2])

    def arrays(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return the contexts."""
        return {"context": parameters}
