"""The attacks of foolbox, another implementation, from any start and along any direction."""

from collections.abc import Callable

import eagerpy as ep
import numpy as np
import torch
from foolbox import PyTorchModel
from foolbox.attacks import LinfMomentumIterativeFastGradientMethod, LinfProjectedGradientDescentAttack
from foolbox.attacks.gradient_descent_base import normalize_lp_norms
from foolbox.criteria import Misclassification
from scipy import ndimage
from torch import Tensor, nn

Filter = Callable[[np.ndarray], np.ndarray]


class Pgd(LinfProjectedGradientDescentAttack):
    """PGD from a start that is given."""

    def __init__(self, start: Tensor, **settings: float) -> None:
        super().__init__(random_start=True, **settings)
        self.start = start

    def get_random_start(self, x0, epsilon):
        return ep.astensor(self.start)


class MiFgsm(LinfMomentumIterativeFastGradientMethod):
    """MI-FGSM as in the paper: gradients are divided by their L1 norm; foolbox itself takes their signs."""

    def __init__(self, gradient_filter: Filter | None = None, **settings: float) -> None:
        super().__init__(**settings)
        self.gradient_filter = gradient_filter

    def normalize(self, gradients, *, x, bounds):
        if self.gradient_filter:
            gradients = ep.astensor(torch.from_numpy(self.gradient_filter(gradients.numpy())))
        return normalize_lp_norms(gradients, p=1)


def pgd(network: nn.Module, images: Tensor, labels: Tensor, *, start: Tensor, **settings: float) -> Tensor:
    """Return what foolbox's PGD makes; settings are eps, step_size, steps."""
    return _run(Pgd, network, images, Misclassification(labels), start=start, **settings)


def mi_fgsm(
    network: nn.Module, images: Tensor, labels: Tensor, *, gradient_filter: Filter | None = None, **settings: float
) -> Tensor:
    """Return what foolbox's momentum makes; settings are eps, step_size, steps, momentum."""
    return _run(MiFgsm, network, images, Misclassification(labels), gradient_filter=gradient_filter, **settings)


def gaussian_filter(kernel_size: int) -> Filter:
    """Return the filter of TI-FGSM: scipy's Gaussian, cut off at three standard deviations, zeros beyond the edge."""
    sigma, radius = (kernel_size - 1) / 6, kernel_size // 2
    return lambda gradients: ndimage.gaussian_filter(
        gradients, (0, 0, sigma, sigma), mode="constant", radius=(0, 0, radius, radius)
    )


def _run(attack, network, images, criterion, *, eps, step_size, **settings):
    model = PyTorchModel(network, bounds=(0, 1), device="cpu")
    return attack(abs_stepsize=step_size, **settings).run(model, images, criterion, epsilon=eps)
