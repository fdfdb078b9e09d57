"""Random noise as a defence."""

from torch import Tensor

from stages.defences.bpda import to_pixel_range
from stages.defences.resize_pad import Noise
from stages.defences.undefended import Undefended


def random_noise(images: Tensor, model: Undefended, noise: Noise, *, eps: float) -> Tensor:
    """Classify images under uniform noise.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        model: The classifier.
        noise: Draws the noise of each image, new in every call.
        eps: Its radius, in 1/255 of the pixel range; the noisy image is clamped to [0, 1].

    Returns:
        Logits (N, K); one forward pass.

    Source: the baseline RN of Xing et al. 2025 (TTC), sec. 4.
    """
    drawn = noise.uniform(tuple(images.shape[1:]), low=-eps / 255, high=eps / 255).to(images.device)
    return model.logits(to_pixel_range(images + drawn))
