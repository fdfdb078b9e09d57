"""R-TPT: a context tuned for each image on its views, and a vote of the views that agree with others."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.defences.resize_pad import Noise
from stages.defences.undefended import Undefended, Wording
from stages.defences.views import of_views, random_crop


def r_tpt(
    images: Tensor,
    model: Undefended,
    noise: Noise,
    *,
    wording: Wording,
    views: int,
    smallest: float,
    confident: float,
    lr: float,
    neighbours: int,
    temperature: float,
) -> Tensor:
    """Tune the context on the mean entropy of the surest views, then weigh views by their nearness to others.

    Logits are sum_i w_i z_i(V'), w = softmax(m / temperature), m_i the mean cosine of view i to its nearest others.
    Each image starts from the same context. To an attacker the tuned context is a constant (BPDA).

    Args:
        images: Square images (N, 3, S, S), float32 in [0, 1].
        model: The classifier.
        noise: Draws the crops of each image, new in every call.
        wording: The prompt whose context is tuned.
        views: The image and views - 1 random crops; 64 in the paper.
        smallest: Smallest side of a crop as a share of S.
        confident: Share of views, those of the lowest entropy, whose entropy is minimised; 0.1 in the paper.
        lr: Of AdamW; 0.005 in the paper.
        neighbours: 20 in the paper; less than views.
        temperature: 0.01 in the paper.

    Returns:
        Logits (N, K); as many forward passes as views, and one forward and backward pass of the text tower.

    Source: Sheng et al. 2025 (R-TPT, CVPR), sec. 3; crops alone, without AugMix.
    """
    seen = [images, *(random_crop(images, noise, smallest=smallest) for _ in range(views - 1))]
    features = of_views(model.encode, seen)  # (N, V, D)
    context = tuned_context(features.detach(), model, wording, chosen=ceil(confident * views), lr=lr)
    with torch.no_grad():
        text_features = wording.text_features(context)
    weights = (agreement(features, neighbours) / temperature).softmax(1)  # (N, V)
    return model.combine(model.classify(features, text_features), weights)


def tuned_context(features: Tensor, model: Undefended, wording: Wording, *, chosen: int, lr: float) -> Tensor:
    """Return contexts (N, M, D_token) after one step down the mean entropy of the surest of V views (N, V, D)."""
    context = wording.context.detach().expand(len(features), -1, -1).clone().requires_grad_()
    optimizer = torch.optim.AdamW([context], lr=lr)
    with torch.enable_grad():
        log_p = model.classify(features, wording.text_features(context)).log_softmax(-1)
        entropies = -(log_p.exp() * log_p).sum(-1)  # (N, V)
        surest = entropies.sort(1).values[:, :chosen]
        # the sum over images: Adam's steps are entry by entry, so no image touches another
        (context.grad,) = torch.autograd.grad(surest.mean(1).sum(), context)
    optimizer.step()
    return context.detach()


def agreement(features: Tensor, neighbours: int) -> Tensor:
    """Return the mean cosine (N, V) of each view's features (N, V, D) to those of its nearest other views."""
    unit = F.normalize(features, dim=-1)
    others = ~torch.eye(unit.shape[1], dtype=torch.bool, device=unit.device)
    cosines = (unit @ unit.mT).masked_fill(~others, -torch.inf)
    return cosines.topk(neighbours, dim=-1).values.mean(-1)
