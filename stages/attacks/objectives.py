"""Objectives of attacks: each function here returns a map from images (N, C, H, W) to values (N,) to be maximised."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.pgd import Objective

Encoder = Callable[[Tensor], Tensor]


def feature_kl(encode_image: Encoder, image_features_raw: Tensor) -> Objective:
    """KL(softmax(clean) || softmax(adv)) over the D entries of the raw embedding: needs neither label nor text.

    Args:
        encode_image: Maps images (N, C, H, W) to raw embeddings (N, D).
        image_features_raw: Embeddings of the clean images (N, D), not normalised.

    Source: AdvPT (arXiv 2311.11261), sec. 3.
    """
    clean = image_features_raw.log_softmax(-1)
    return lambda images: F.kl_div(encode_image(images).log_softmax(-1), clean, reduction="none", log_target=True).sum(
        -1
    )


def feature_cosine(encode_image: Encoder, image_features_raw: Tensor) -> Objective:
    """Negative cosine between the clean and the adversarial embedding; arguments as for `feature_kl`."""
    return lambda images: -F.cosine_similarity(encode_image(images), image_features_raw, dim=-1)


def feature_l2(encode_image: Encoder, image_features_raw: Tensor) -> Objective:
    """Squared Euclidean distance between the clean and the adversarial embedding; arguments as for `feature_kl`."""
    return lambda images: (encode_image(images) - image_features_raw).square().sum(-1)


def cross_entropy(logits_of: Encoder, labels: Tensor) -> Objective:
    """Cross-entropy of the right class: untargeted, white-box for whatever `logits_of` goes through.

    Args:
        logits_of: Maps images (N, C, H, W) to logits (N, K).
        labels: Right classes (N,).
    """
    return lambda images: F.cross_entropy(logits_of(images), labels, reduction="none")


def margin(logits_of: Encoder, labels: Tensor) -> Objective:
    """Best wrong logit minus right logit: positive once the image is fooled; arguments as for `cross_entropy`.

    Source: Carlini and Wagner 2017, f6.
    """

    def objective(images: Tensor) -> Tensor:
        logits = logits_of(images)
        right = logits.gather(1, labels[:, None])[:, 0]
        return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - right

    return objective


def towards(logits_of: Encoder, labels: Tensor, targets: Tensor) -> Objective:
    """Logit of a target class minus the right logit: a targeted attack that no large logit scale can flatten.

    Args:
        logits_of: As for `cross_entropy`.
        labels: As for `cross_entropy`.
        targets: Wrong classes (N,) to aim at.
    """

    def objective(images: Tensor) -> Tensor:
        logits = logits_of(images)
        return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None]))[:, 0]

    return objective


def alike(logits_of: Encoder, labels: Tensor) -> Objective:
    """Mean over V views of the log-probability of one wrong class: it makes views wrong, each by itself, and alike.

    The class t is, among the wrong ones, that with the largest mean logit. With z_v the logits of a view, z their mean
    and p = softmax(z),

        mean_v log softmax(z_v)[t] = log p[t] - mean_v KL(p || softmax(z_v)),

    so that the views' agreement is part of it. (Cross-entropy of the right class would have the opposite sign before
    the divergence: it gains from views that disagree.)

    Args:
        logits_of: Maps images (N, C, H, W) to logits of their views (N, V, K).
        labels: Right classes (N,).
    """

    def objective(images: Tensor) -> Tensor:
        logits = logits_of(images)
        targets = logits.detach().mean(1).scatter(1, labels[:, None], -torch.inf).argmax(1)
        return logits.log_softmax(-1).mean(1).gather(1, targets[:, None])[:, 0]

    return objective


def dlr(logits_of: Encoder, labels: Tensor) -> Objective:
    """Margin over the distance from the first to the third logit: no scale of the logits can flatten its gradient.

    Arguments as for `cross_entropy`.

    Raises:
        ValueError: When it is called, if there are fewer than 3 classes.

    Source: Croce and Hein 2020, eq. 6 (difference of logits ratio).
    """

    def objective(images: Tensor) -> Tensor:
        logits = logits_of(images)
        if logits.shape[1] < 3:
            raise ValueError(f"objective: dlr compares three logits, here are {logits.shape[1]}; allowed is margin")
        first, _, third = logits.topk(3, dim=1).values.unbind(1)
        return margin(lambda _: logits, labels)(images) / (first - third + 1e-12)

    return objective


def max_logit(logits_of: Encoder, labels: Tensor) -> Objective:
    """Minus the right logit, whatever the others are: never saturates; arguments as for `cross_entropy`.

    Source: Zhao et al. 2021 (the logit loss), untargeted as in Qin et al. 2022.
    """
    return lambda images: -logits_of(images).gather(1, labels[:, None])[:, 0]


def diverse(objective: Objective, *, probability: float, smallest: float, noise: ImageNoise) -> Objective:
    """Shows the objective a randomly shrunk and zero-padded copy of each image, afresh at every call.

    Args:
        objective: What to maximise, of square images (N, C, S, S).
        probability: Share of images that are transformed.
        smallest: Smallest side of the shrunk copy, as a share of S.
        noise: Source of the decision, the size and the place.

    Source: Xie et al. 2019 (DI-FGSM).
    """

    def transformed(images: Tensor) -> Tensor:
        kept, size, left, top = noise.uniform((4,)).to(images.device).unbind(-1)
        side = images.shape[-1]
        sides = (side * (smallest + (1 - smallest) * size)).floor().clamp(1, side)
        sides = torch.where(kept < probability, sides, side)
        return objective(shrink(images, sides, left=left, top=top))

    return transformed


def shrink(images: Tensor, sides: Tensor, *, left: Tensor, top: Tensor) -> Tensor:
    """Resizes each square image bilinearly to its own side and places it on black, all in one call.

    Args:
        images: (N, C, S, S).
        sides: New sides (N,), whole numbers of pixels in 1..S.
        left: Horizontal place (N,), 0 (left edge) to 1 (right edge); rounded down to a pixel.
        top: The same, vertically.

    Returns:
        (N, C, S, S); equal to `interpolate(..., align_corners=False)` and zero padding, image by image.
    """
    side = images.shape[-1]
    offsets = ((side - sides + 1) * torch.stack([left, top])).floor()  # (2, N)
    pixel = torch.arange(side, device=images.device) - offsets.unsqueeze(-1)  # (2, N, S), in pixels of the small copy
    inside = (pixel >= 0) & (pixel < sides[:, None])
    place = (2 * pixel + 1) / sides[:, None] - 1  # (2, N, S), in [-1, 1] over the small copy
    x, y = place
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=-1)
    mask = (inside[0][:, None, :] & inside[1][:, :, None])[:, None]
    resized = F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)
    return resized * mask
