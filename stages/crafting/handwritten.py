"""The attack of most papers on test-time defences: on the hand-written prompt, with labels, without the defence."""

from collections.abc import Callable

import torch
from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, margin
from stages.crafting.feature import from_starts
from stages.crafting.shards import Attack, AttackWorker
from stages.models.clip import load_model
from stages.models.context import handwritten
from stages.models.logits import cosine_logits
from stages.models.text_tower import TextTower
from stages.runtime.engine import WorkerFacts
from stages.runtime.params import HandwrittenPgd, Params
from stages.storage.card import Card

OBJECTIVES = {"cross_entropy": cross_entropy, "margin": margin}


class HandwrittenAttackWorker(AttackWorker):
    """A worker that attacks shards through the hand-written prompt of their data set.

    Args:
        params: The parameters.
        settings: The attack.
        card: Class names and template.
        image_size: H and W, in pixels.

    Attributes:
        clip: The model.
    """

    def __init__(self, params: Params, settings: HandwrittenPgd, card: Card, image_size: int) -> None:
        self.clip, device = load_model(params)
        with torch.no_grad():
            tower = TextTower(self.clip.model, self.clip.tokenizer)
            (text_features,) = handwritten([card.template], card.class_names, tower)
        encode = self.clip.gradient_encoder()

        def logits_of(images: Tensor) -> Tensor:
            return cosine_logits(encode(images), text_features, self.clip.logit_scale)

        attack = handwritten_attack(settings, logits_of)
        super().__init__(params, attack, encode, eps=settings.eps, image_size=image_size, device=device)
        about = {"victim": self.clip.fingerprint, "template": card.template, "class_names": card.class_names}
        self.facts = WorkerFacts(device.type, self.clip.fingerprint, {**about, "precision": self.clip.precision})


def handwritten_attack(settings: HandwrittenPgd, logits_of: Callable[[Tensor], Tensor]) -> Attack:
    """Return the attack that a block of params.yaml describes, on a network: images (N, C, H, W) -> logits (N, K)."""

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        return from_starts(settings, OBJECTIVES[settings.objective](logits_of, labels), images, noise)

    return attack
