"""Several short contexts, mixed for each image by a router: MoAPT."""

from dataclasses import replace

import torch
from torch import Tensor

from stages.prompts.adversarial import apt
from stages.prompts.learners import Task
from stages.runtime.method_blocks import Moapt


class Learner(apt.Learner):
    """R contexts of M vectors, one behind the other (S, R·M, D_token), or (S, K, R·M, D_token), and a router (S, R, D).

    The text features of an image are the mean of those under each context, weighted by softmax(router · image feature);
    see `prompts.adversarial`.

    Source: after MoAPT (arXiv 2505.17509), of whose router the abstract alone could be read: here it is linear.
    """

    def __init__(self, task: Task[Moapt]) -> None:
        count = task.settings.contexts
        repeated = [generator for generator in task.generators for _ in range(count)]
        super().__init__(replace(task, generators=repeated))
        drawn = self.initial["context"]  # (S·R, M, D_token) or (S·R, K, M, D_token)
        width = task.handwritten().shape[-1]
        shape, dtype = (count, width), drawn.dtype
        router = torch.stack([torch.randn(shape, generator=generator, dtype=dtype) for generator in task.generators])
        self.initial = {
            "context": drawn.unflatten(0, (-1, count)).movedim(1, -3).flatten(-3, -2),
            "router": task.settings.init_std * router.to(drawn),
        }

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        """Encode the class names under each context of one seed: (R, K, D)."""
        experts = parameters["context"].unflatten(-2, (len(parameters["router"]), -1)).movedim(-3, 0)
        return self._context.classifier(experts)[0]
