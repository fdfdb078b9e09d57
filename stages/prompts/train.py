"""Step 2 of the paper: parameters tuned by cross-entropy on stored embeddings; no image is read, no weight changes.

The learning rate is that of all tuning.
"""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.logits import cosine_logits
from stages.prompts.checkpoint import Progress
from stages.runtime.block import Schedule
from stages.runtime.params import Tune


def learning_rate(schedule: Schedule, lr: float, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0: a cosine that begins at `lr`, constant in the warm-up."""
    if epoch < schedule.warmup_epochs:
        return schedule.warmup_lr
    return lr * (1 + math.cos(math.pi * epoch / schedule.epochs)) / 2


def tune(
    classifier: Callable[[Tensor], tuple[Tensor, Tensor]],
    parameters: Tensor,
    *,
    embeddings: Tensor,
    clean_embeddings: Tensor,
    labels: Tensor,
    logit_scale: float,
    settings: Tune,
    generators: list[torch.Generator],
    start: Progress | None = None,
) -> Iterator[Progress]:
    """Tune the parameters of all seeds side by side, in place; yield after every epoch.

    Args:
        classifier: Maps parameters (S, ...) to text features (S, K, D) and logit biases (S, K), seed by seed.
        parameters: Where tuning starts (S, ...), such as contexts (S, M, D_token); a leaf, changed in place.
        embeddings: The bank: raw adversarial embeddings (S, V, N, D) of V views of each image; (1, V, N, D) where all
            seeds share them. The paper has one view; of several, each epoch takes one of each image by chance.
        clean_embeddings: Raw embeddings (N, D) of the same images, clean.
        labels: (N,).
        logit_scale: The factor in front of the cosine, in the loss.
        settings: How to step. With the probability `clean_fraction` a step takes an image's clean embedding instead:
            0 is the paper, 1 is CoOp.
        generators: Source of order and choice for each of the S seeds, on the CPU.
        start: Where an interrupted run stood; parameters and generators are brought there.

    Yields:
        Where it stands, valid until the next epoch begins.

    Source: AdvPT (arXiv 2311.11261), eq. 5; CoOp (Zhou et al. 2022), eq. 3.
    """
    parameters.requires_grad_()
    optimizer = torch.optim.SGD(
        [parameters], settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    (_, views, count, _), device = embeddings.shape, labels.device
    whose = torch.arange(len(embeddings), device=device)[:, None]  # (S, 1), or (1, 1) of what all share
    loss, accuracy = ([*start.loss], [*start.accuracy]) if start else ([], [])
    if start:
        with torch.no_grad():
            parameters.copy_(torch.tensor(start.arrays["parameters"]))
        optimizer.state[parameters]["momentum_buffer"] = torch.tensor(start.arrays["momentum"], device=device)
        for generator, state in zip(generators, start.arrays["generators"], strict=True):
            generator.set_state(torch.tensor(state))
    for epoch in range(len(loss), settings.epochs):
        optimizer.param_groups[0]["lr"] = learning_rate(settings, settings.lr, epoch)
        order = torch.stack([torch.randperm(count, generator=g) for g in generators]).to(device)  # (S, N)
        chance = torch.stack([torch.rand(count, generator=g) for g in generators]).to(device)
        view = torch.zeros_like(order)
        if views > 1:
            view = torch.stack([torch.randint(views, (count,), generator=g) for g in generators]).to(device)
        losses, hits = torch.zeros(2, len(generators), device=device)
        for chosen in order.split(settings.batch_size, dim=1):  # (S, B)
            clean = (chance.gather(1, chosen) < settings.clean_fraction)[..., None]
            attacked = embeddings[whose, view.gather(1, chosen), chosen]
            features = torch.where(clean, clean_embeddings[chosen], attacked)  # (S, B, D)
            text_features, bias = classifier(parameters)
            logits = cosine_logits(features, text_features, logit_scale) + bias[:, None]  # (S, B, K)
            of_each = F.cross_entropy(logits.flatten(0, 1), labels[chosen].flatten(), reduction="none")
            of_each = of_each.view(chosen.shape)
            (parameters.grad,) = torch.autograd.grad(of_each.mean(1).sum(), parameters)
            optimizer.step()
            losses += of_each.detach().sum(1)
            hits += (logits.argmax(-1) == labels[chosen]).sum(1)
        loss.append((losses / count).tolist())
        accuracy.append((hits / count).tolist())
        state = {
            "parameters": parameters.detach(),
            "momentum": optimizer.state[parameters]["momentum_buffer"],
            "generators": torch.stack([generator.get_state() for generator in generators]),
        }
        yield Progress(loss, accuracy, {name: tensor.cpu().numpy() for name, tensor in state.items()})
    parameters.requires_grad_(False)
    parameters.grad = None
