"""Losses that prompts of the group `adversarial` minimise on attacked images, and that these attacks maximise."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.attacks.objectives import Encoder, cross_entropy
from stages.attacks.pgd import Objective
from stages.runtime.method_blocks import Adversarial


class Loss(Protocol):
    """The loss of tuning, and the objective of the attack within it.

    Attributes:
        with_clean: Whether the loss of an attacked image depends on its clean form, too.
    """

    with_clean: bool

    def objective(self, logits_of: Encoder, images: Tensor, labels: Tensor) -> Objective:
        """Return what the attack on clean images (N, C, H, W) of some labels (N,) maximises."""

    def __call__(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (N,) of N images.

        Args:
            features: Raw features (N, V, D) of V forms of each image: the attacked one, behind the clean one if the
                loss depends on it.
            logits: Their logits (N, V, K).
            labels: Right classes (N,).
        """


def loss_of(settings: Adversarial) -> Loss:
    """Return the loss that the block of a method names: with a weight of consistency that of FAP."""
    return CrossEntropy() if settings.consistency is None else Consistency(settings.consistency)


class CrossEntropy:
    """Cross-entropy on attacked images; the attack maximises the same."""

    with_clean = False

    def objective(self, logits_of: Encoder, images: Tensor, labels: Tensor) -> Objective:
        """Return the cross-entropy."""
        return cross_entropy(logits_of, labels)

    def __call__(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropies (N,)."""
        return F.cross_entropy(logits[:, -1], labels, reduction="none")


class Consistency:
    """FAP's loss: cross-entropy on clean images, and a divergence of clean and attacked ones that the attack maximises.

    CE(p(x), y) + weight · (1 + cos(f(x), f(x'))) · KL(p(x) || p(x')).

    Source: FAP (Zhou et al. 2024).
    """

    with_clean = True

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def objective(self, logits_of: Encoder, images: Tensor, labels: Tensor) -> Objective:
        """Return the divergence from the probabilities of the clean images."""
        with torch.no_grad():
            clean = logits_of(images).log_softmax(-1)
        return lambda attacked: divergence(clean, logits_of(attacked).log_softmax(-1))

    def __call__(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (N,)."""
        clean, attacked = logits.log_softmax(-1).unbind(1)
        similarity = F.cosine_similarity(features[:, 0], features[:, 1], dim=-1)
        consistency = (1 + similarity) * divergence(clean, attacked)
        return F.nll_loss(clean, labels, reduction="none") + self.weight * consistency


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) (N,) of log probabilities (N, K)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)
