"""The paper's attack on stored images: away from the clean embedding, whatever the words are."""

from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import Encoder, feature_cosine, feature_kl, feature_l2
from stages.attacks.pgd import pgd
from stages.crafting import Attack, Crafter, steps_of
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.params import FeaturePgd, Model, Params

OBJECTIVES = {"kl": feature_kl, "cosine": feature_cosine, "l2": feature_l2}


class FeatureCrafter(Crafter):
    """Attacks shards through the image tower alone.

    Args:
        params: The parameters.
        settings: The attack.
        model: Whose image tower.
        image_size: H and W, in pixels.

    Attributes:
        clip: The model.
    """

    def __init__(self, params: Params, settings: FeaturePgd, model: Model, image_size: int) -> None:
        device = choose_device(params.runtime.device)
        self.clip = load_clip(**model.model_dump(), device=device)
        encode = self.clip.gradient_encoder()
        attack = feature_attack(settings, encode)
        super().__init__(params, attack, encode, eps=settings.eps, image_size=image_size, device=device)
        slowly = "" if self.clip.is_fast else ", slowly: this image tower is not of a kind that is made fast here"
        self.facts = {
            "device": device.type,
            "knows": {"victim": self.clip.fingerprint, "precision": self.clip.precision},
            "note": f", {self.clip.precision}{slowly}",
        }


def feature_attack(settings: FeaturePgd, encode: Encoder) -> Attack:
    """The attack that a block of params.yaml describes, on a network: images (N, C, H, W) -> features (N, D)."""
    ball, step_size, steps = steps_of(settings.eps, settings.steps, settings.step_ratio)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        objective = OBJECTIVES[settings.objective](encode, encode(images))
        return pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise)

    return attack
