"""Class biases, added to the logits of the hand-written prompt: the trivial baseline of every tuned prompt."""

from torch import Tensor

from stages.prompts.learners import Task


class Learner:
    """Biases (S, K), zero at the start; see `prompts.learners`."""

    note = ""

    def __init__(self, task: Task) -> None:
        self._hand_written = task.handwritten()  # (1, K, D)
        self.initial = self._hand_written.new_zeros(len(task.generators), len(task.class_names))
        self.template = task.template

    def classifier(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the text features of the hand-written prompt, the same for all seeds, and the biases."""
        return self._hand_written.expand(len(parameters), -1, -1), parameters

    def arrays(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return nothing: the biases are in the classifier."""
        return {}
