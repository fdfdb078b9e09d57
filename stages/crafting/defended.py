"""Defences from their blocks in params.yaml: in front of the encoder, and under attack."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.crafting.embedding import Prepare
from stages.defences.bpda import straight_through
from stages.defences.compression import bits, jpeg
from stages.defences.denoising import total_variation, wavelet
from stages.defences.resize_pad import resize_pad
from stages.defences.smoothing import gaussian, median
from stages.runtime.params import Defence, ResizePad

Encoder = Callable[[Tensor], Tensor]
# Whoever is attacked: the logits of a batch, given the noise of its images, which a random defence draws from.
Victim = Callable[[ImageNoise], Encoder]

DEFENCES = {
    "jpeg": jpeg,
    "bits": bits,
    "median": median,
    "gaussian": gaussian,
    "total_variation": total_variation,
    "wavelet": wavelet,
}


def defended(images: Tensor, settings: Defence, noise: ImageNoise) -> Tensor:
    """What a defence makes of images (N, 3, H, W) in [0, 1]."""
    if isinstance(settings, ResizePad):
        return resize_pad(images, smallest=settings.smallest, noise=noise)
    return DEFENCES[settings.method](images, **settings.model_dump(exclude={"method"}))


def prepared_by(settings: Defence | None, *, seed: int) -> Prepare | None:
    """The defence in front of the encoder. Its chance is its own: no attacker draws from the same stream."""
    if settings is None:
        return None
    return lambda images, ids: defended(images, settings, ImageNoise(seed, [f"defence/{id}" for id in ids]))


def victim_behind(settings: Defence | None, logits_of: Encoder) -> Victim:
    """Who an adaptive attacker attacks: the prompt behind the defence.

    Its gradient goes through a random one, which is differentiable, and straight through any other (BPDA): straight
    through an image that was shrunk and moved, it would reach the wrong pixels.
    """
    if settings is None:
        return lambda noise: logits_of

    def victim(noise: ImageNoise) -> Encoder:
        process = partial(defended, settings=settings, noise=noise)
        through = process if isinstance(settings, ResizePad) else straight_through(process)
        return lambda images: logits_of(through(images))

    return victim
