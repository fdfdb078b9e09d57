"""Defences by denoising: total variation, wavelets.

scikit-image is imported inside the functions: with scipy's statistics it takes half a second, which every stage that
might denoise would pay.
"""

import numpy as np
from torch import Tensor

from stages.defences.image_by_image import image_by_image


def total_variation(images: Tensor, *, weight: float) -> Tensor:
    """Minimise ||new - image||^2 / 2 + weight * TV(new), nearly: stops after 200 steps, or once a step gains little.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        weight: How much smoothness counts against nearness; a region of P pixels and perimeter p that stands out loses
            weight * p / P of its height, until nothing stands out.

    Returns:
        (N, 3, H, W), float32 in [0, 1]; not differentiable.

    Source: Chambolle 2004; as a defence Guo et al. 2018, who drop pixels at random as well.
    """
    from skimage.restoration import denoise_tv_chambolle

    def process(image: np.ndarray) -> np.ndarray:
        return denoise_tv_chambolle(image, weight=weight, channel_axis=-1)

    return image_by_image(process, images)


def wavelet(images: Tensor, *, sigma: float) -> Tensor:
    """Shrink the coefficients of a Haar transform softly, each band by its own BayesShrink threshold.

    Channels are processed separately (no YCbCr); three levels fewer than the sides allow, so 2 at 32 pixels and 4 at
    224.

    Args:
        images: (N, 3, H, W), float32 in [0, 1].
        sigma: Standard deviation of the noise, in units of the pixel range; 0.02 in AdvPT's paper.

    Returns:
        (N, 3, H, W), float32 in [0, 1]; not differentiable.

    Source: Chang et al. 2000; combined with AdvPT in arXiv 2311.11261.
    """
    from skimage.restoration import denoise_wavelet

    def process(image: np.ndarray) -> np.ndarray:
        return denoise_wavelet(image, sigma=sigma, wavelet="db1", mode="soft", method="BayesShrink", channel_axis=-1)

    return image_by_image(process, images)
