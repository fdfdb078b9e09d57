"""Total variation and wavelets: by hand, against scikit-image and PyWavelets, and on noise."""

from functools import partial

import numpy as np
import pytest
import pywt
import torch
from skimage.restoration import denoise_tv_chambolle

from stages.defences.total_variation import STEPS, total_variation
from stages.defences.wavelet import wavelet


def smooth_images(side: int = 32) -> torch.Tensor:
    ramp = torch.linspace(0.2, 0.8, side)
    return torch.stack([ramp.expand(side, side), ramp.expand(side, side).T, torch.full((side, side), 0.5)])[None]


def noisy(images: torch.Tensor, sigma: float) -> torch.Tensor:
    return (images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def mean_square(images: torch.Tensor) -> float:
    return images.square().mean().item()


@pytest.mark.parametrize("weight", [0.02, 0.1, 0.2])
def test_total_variation_lowers_a_step_by_weight_times_perimeter_over_area(weight):
    images = torch.full((1, 3, 12, 16), 0.25)
    images[..., 8:] = 0.75  # each half: perimeter 12, area 96
    found = total_variation(images, weight=weight)
    halves = found.unflatten(-1, (2, 8)).mean((0, 2, 4))  # (3, 2)
    torch.testing.assert_close(halves[:, 0], torch.full((3,), 0.25 + weight / 8), rtol=0, atol=1e-4)
    torch.testing.assert_close(halves[:, 1], torch.full((3,), 0.75 - weight / 8), rtol=0, atol=1e-4)


@pytest.mark.parametrize("weight", [0.02, 0.1, 0.2])
def test_total_variation_equals_scikit_image_with_as_many_steps(weight):
    images = noisy(smooth_images(), 0.05)
    found = total_variation(images, weight=weight)[0]
    for channel, pixels in zip(found, images[0].numpy(), strict=True):
        expected = denoise_tv_chambolle(pixels, weight=weight, eps=0, max_num_iter=STEPS + 1)
        np.testing.assert_allclose(channel.numpy(), expected, atol=1e-5)


def shrunk_by_pywt(channel: np.ndarray, sigma: float, levels: int) -> np.ndarray:
    """BayesShrink, Chang et al. 2000, eqs. 12 to 14: threshold sigma^2 / sqrt(max(mean d^2 - sigma^2, 0))."""
    coarse, *details = pywt.wavedec2(channel.astype(np.float64), "haar", level=levels)

    def shrink(band: np.ndarray) -> np.ndarray:
        signal = np.sqrt(max((band**2).mean() - sigma**2, 1e-30))
        return np.sign(band) * np.maximum(np.abs(band) - sigma**2 / signal, 0)

    return pywt.waverec2([coarse, *[tuple(map(shrink, bands)) for bands in details]], "haar")


@pytest.mark.parametrize(("side", "levels"), [(32, 2), (64, 3), (45, 2), (9, 1)])
@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_wavelet_equals_pywavelets(side, levels, sigma):
    images = noisy(smooth_images(side), 0.05)
    images[0, 1, : side // 2] *= 0.3
    found = wavelet(images, sigma=sigma)[0].numpy()
    expected = np.stack([shrunk_by_pywt(channel, sigma, levels) for channel in images[0].numpy()])
    np.testing.assert_allclose(found, expected[:, :side, :side].clip(0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("denoise", "factor"), [(partial(total_variation, weight=0.1), 6), (partial(wavelet, sigma=0.05), 3)]
)
def test_noise_falls_by_a_factor(denoise, factor):
    clean = smooth_images()
    images = noisy(clean, 0.05)
    assert mean_square(denoise(images) - clean) * factor < mean_square(images - clean)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_images_stay(value):
    images = torch.full((1, 3, 32, 32), value)
    for found in (total_variation(images, weight=0.1), wavelet(images, sigma=0.02)):
        torch.testing.assert_close(found, images, rtol=0, atol=1e-6)
