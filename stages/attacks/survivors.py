"""Attacks one after the other, each on the images that none before it has fooled."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

# All take images as they are now (n, C, H, W) and their places in the batch (n,).
Attack = Callable[[Tensor, Tensor], Tensor]
Fooled = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor], Tensor]


def attack_survivors(attacks: Iterable[Attack], images: Tensor, *, fooled: Fooled) -> Tensor:
    """Keeps of each image the first version that fools, be it the clean one, else that of the last attack.

    Serves restarts and families of objectives, where each attack starts from the clean images of its places, and
    stopping early, where each is some steps of PGD from where the one before it ended (`start=images_adv`). With
    `noise.take(places)` an image meets the same randomness whoever else survives: an image that is never fooled ends
    where all the steps in one go end, unless a direction such as momentum forgets between them.

    Args:
        attacks: Map images (n, C, H, W) and places (n,) to adversarial images (n, C, H, W).
        images: Clean images (N, C, H, W) in [0, 1].
        fooled: Maps images and places to a mask (n,); it judges what will be stored, so 8-bit images.

    Returns:
        Adversarial images (N, C, H, W).
    """
    images_adv = images.clone()
    places = torch.arange(len(images), device=images.device)
    for attack in attacks:
        places = places[~fooled(images_adv[places], places)]
        if not len(places):
            break
        images_adv[places] = attack(images_adv[places], places)
    return images_adv


def attack_by_score(attacks: Iterable[Attack], images: Tensor, *, score: Score, enough: float) -> Tensor:
    """Keep of each image the version with the highest score, be it the clean one; stop for it once that is enough.

    For a victim whose answers vary: the first version that happens to fool may be a weak one.

    Args:
        attacks: As for `attack_survivors`.
        images: Clean images (N, C, H, W) in [0, 1].
        score: Maps images and places to values (n,), higher is more adversarial; it judges 8-bit images.
        enough: Score at which an image counts as fooled.

    Returns:
        Adversarial images (N, C, H, W).
    """
    best, highest = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)

    def fooled(images_adv: Tensor, places: Tensor) -> Tensor:
        scores = score(images_adv, places)
        better = scores > highest[places]
        best[places[better]], highest[places[better]] = images_adv[better], scores[better]
        return scores >= enough

    last = attack_survivors(attacks, images, fooled=fooled)
    places = (highest < enough).nonzero()[:, 0]
    if len(places):
        fooled(last[places], places)
    return best
