"""AutoAttack, guarded: the official attacks of `pyautoattack`, on models that they can be trusted on."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from stages.attacks.survivors import attack_survivors

Encoder = Callable[[Tensor], Tensor]

ATTACKS = {
    "fast": ("apgd-ce", "apgd-t"),
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "square": ("square",),
}
_SILENT = logging.Logger("autoattack", level=logging.CRITICAL)
_ALONE = threading.Lock()  # the package seeds the global generators


def attacks_for(version: str, classes: int) -> tuple[str, ...]:
    """Return the attacks of `ATTACKS[version]` that take part, in their order.

    The targeted DLR loss of apgd-t divides by a difference to the fourth largest logit: below four classes it is out.

    Raises:
        ValueError: If there is no such version, or nothing to confuse a class with.
    """
    if version not in ATTACKS:
        raise ValueError(f"version: {version!r}; allowed are {', '.join(ATTACKS)}")
    if classes < 2:
        raise ValueError(f"logits: {classes} class; at least 2 are needed to fool anybody")
    return tuple(name for name in ATTACKS[version] if name != "apgd-t" or classes >= 4)


def auto_attack(
    logits_of: Encoder, images: Tensor, labels: Tensor, *, eps: float, version: str, seed: int, queries: int = 5001
) -> Tensor:
    """Worst case over a family of attacks: each has its try at the images that none before it has fooled.

    The same images, in the same batch, and seed give the same result, whatever ran before. The package draws its
    noise for a whole batch: which images go together changes what is found, so the caller has to fix the batches.
    Calls from several threads wait for each other.

    Args:
        logits_of: Maps images (N, C, H, W) to logits (N, K), always to the same ones.
        images: Clean images (N, C, H, W), float32 in [0, 1].
        labels: Right classes (N,).
        eps: Radius of the L-infinity ball, in units of the pixel range.
        version: `fast`, `standard` (AutoAttack proper) or `square` (black box), see `ATTACKS` and `attacks_for`.
        seed: Seeds each attack anew; the global generators are left as they were.
        queries: How many changed images Square may ask about, per image, its first guess included; at least 1.
            Clean images and the one it ends with are asked again outside this budget.

    Returns:
        Adversarial images (N, C, H, W), contiguous, inside the ball; clean where they were wrong already or never fool.

    Raises:
        ValueError: If an image lies outside [0, 1], or if logits are NaN, infinite, probabilities or random.

    Source: Croce and Hein 2020 (arXiv 2003.01690); Square: Andriushchenko et al. 2020 (arXiv 1912.00049).
    """
    images, model = images.contiguous(), _guarded(logits_of)  # the package calls `.view` on what is shaped like them
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with _ALONE, torch.no_grad(), torch.random.fork_rng(devices):
        classes = _count_classes(model, images)
        official = _official(model, eps=eps, seed=seed, queries=queries, classes=classes, device=images.device)

        def step(name: str, images_adv: Tensor, places: Tensor) -> Tensor:
            return official[name].perturb(images_adv, labels[places])

        def fooled(images_adv: Tensor, places: Tensor) -> Tensor:
            return model(images_adv).argmax(1) != labels[places]

        steps = [partial(step, name) for name in attacks_for(version, classes)]
        return attack_survivors(steps, images, fooled=fooled).images


def _official(
    model: Encoder, *, eps: float, seed: int, queries: int, classes: int, device: torch.device
) -> dict[str, APGDAttack | FABAttack_PT | SquareAttack]:
    """The four attacks with AutoAttack's settings; it aims at 9 classes, here at no more than there are wrong ones."""
    shared = {"eps": eps, "seed": seed, "device": device}
    targets = min(9, classes - 1)
    return {
        "apgd-ce": APGDAttack(model, **shared),
        "apgd-t": APGDAttack_targeted(model, n_target_classes=targets, logger=_SILENT, **shared),
        "fab-t": FABAttack_PT(model, n_target_classes=targets, targeted=True, **shared),
        "square": SquareAttack(model, n_queries=queries - 1, resc_schedule=False, **shared),
    }


def _count_classes(model: Encoder, images: Tensor) -> int:
    """K, once it is sure that no attack will seem weak for a reason that is not robustness."""
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"images: pixels from {images.min():.3g} to {images.max():.3g}; allowed are 0 to 1")
    logits, again = model(images), model(images)
    if ((again - logits).norm(dim=1) > 1e-4 * logits.norm(dim=1)).any():
        apart = (again - logits).abs().max()
        raise ValueError(
            f"logits: up to {apart:.3g} apart in two calls with the same images; allowed are models without chance. "
            "Against a random defence use PGD on the mean over samples."
        )
    if logits.min() >= 0 and logits.max() <= 1 and ((logits.sum(1) - 1).abs() < 1e-3).all():
        raise ValueError("logits: probabilities, each row sums to 1; logits are needed. Leave out the softmax.")
    return logits.shape[1]


class _ImagesOnly(torch.autograd.Function):
    """A model whose gradient reaches its images and none of its parameters: FAB calls `backward`."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, logits_of: Encoder) -> Tensor:
        with torch.enable_grad():
            ctx.images = images.detach().requires_grad_()
            ctx.logits = logits_of(ctx.images)
        return ctx.logits.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (*torch.autograd.grad(ctx.logits, ctx.images, gradient), None)


def _guarded(logits_of: Encoder) -> Encoder:
    """The model as the package may see it; with NaN among its logits, any label would count as fooled."""

    def model(images: Tensor) -> Tensor:
        logits = _ImagesOnly.apply(images, logits_of) if torch.is_grad_enabled() else logits_of(images)
        if broken := int((~logits.isfinite()).any(1).sum()):
            raise ValueError(
                f"logits: NaN or infinite for {broken} of {len(images)} images; finite ones are needed. "
                "Look for NaN in the weights, or compute in float32."
            )
        return logits

    return model
