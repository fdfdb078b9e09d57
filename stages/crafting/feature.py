"""The paper's attack: move an image's embedding away from the clean one, without any prompt."""

from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import Encoder, feature_cosine, feature_kl, feature_l2
from stages.attacks.pgd import Objective, pgd, strongest
from stages.crafting.shards import Attack, AttackWorker, steps_of
from stages.models.clip import load_model
from stages.runtime.engine import WorkerFacts
from stages.runtime.params import FeaturePgd, Params, Started

OBJECTIVES = {"kl": feature_kl, "cosine": feature_cosine, "l2": feature_l2}
STARTS = {  # range of the uniform noise of the start, in units of eps
    "uniform": (-1, 1),
    "one_sided": (0, 1),
    "small": (-0.01, 0.01),
}


class FeatureAttackWorker(AttackWorker):
    """A worker that attacks shards through the image tower alone.

    Args:
        params: The parameters.
        settings: The attack.
        image_size: H and W, in pixels.

    Attributes:
        clip: The model.
    """

    def __init__(self, params: Params, settings: FeaturePgd, image_size: int) -> None:
        self.clip, device = load_model(params)
        encode = self.clip.gradient_encoder()
        attack = feature_attack(settings, encode)
        super().__init__(params, attack, encode, eps=settings.eps, image_size=image_size, device=device)
        slowly = "" if self.clip.is_fast else ", without the fast path: it does not support this image tower"
        self.facts = WorkerFacts(
            device.type,
            self.clip.fingerprint,
            provenance={"victim": self.clip.fingerprint, "precision": self.clip.precision},
            note=f", {self.clip.precision}{slowly}",
        )


def feature_attack(settings: FeaturePgd, encode: Encoder) -> Attack:
    """Return the attack that a block of params.yaml describes, on a network: images (N, C, H, W) -> features (N, D).

    Labels are not used.
    """

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        return from_starts(settings, OBJECTIVES[settings.objective](encode, encode(images)), images, noise)

    return attack


def from_starts(settings: Started, objective: Objective, images: Tensor, noise: ImageNoise) -> Tensor:
    """Return images (N, C, H, W) after PGD, of several starts the one with the largest objective.

    A start is not clipped to [0, 1] before the first gradient: on dark images it would become one-sided and the attack
    weaker.
    """
    ball, step_size, steps = steps_of(settings.eps, settings.steps, settings.step_ratio)

    def attempt() -> Tensor:
        low, high = STARTS[settings.start]
        drawn = noise.uniform(tuple(images.shape[1:]), low=low, high=high).to(images.device)
        start = images + ball.eps * drawn
        return pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise, start=start)

    attempts = (attempt() for _ in range(settings.restarts))
    return attempt() if settings.restarts == 1 else strongest(attempts, objective, images, ball=ball)
