"""Attacks one after the other, each on the images that none before it has fooled."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

# All take images as they are now (n, C, H, W) and their places in the batch (n,).
Attack = Callable[[Tensor, Tensor], Tensor]
Fooled = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor], Tensor]


class Attacked(NamedTuple):
    """Adversarial images (N, C, H, W), and the index (N,) of the attack that made each, -1 for the clean image."""

    images: Tensor
    made_by: Tensor


def attack_survivors(attacks: Iterable[Attack], images: Tensor, *, fooled: Fooled) -> Attacked:
    """Keeps of each image the first version that fools, be it the clean one, else that of the last attack.

    Serves restarts and families of objectives, where each attack starts from the clean images of its places, and
    stopping early, where each is some steps of PGD from where the one before it ended (`start=images_adv`). With
    `noise.take(places)` an image meets the same randomness whoever else survives: an image that is never fooled ends
    where all the steps in one go end, unless a direction such as momentum forgets between them.

    Args:
        attacks: Map images (n, C, H, W) and places (n,) to adversarial images (n, C, H, W).
        images: Clean images (N, C, H, W) in [0, 1].
        fooled: Maps images and places to a mask (n,); it judges what will be stored, so 8-bit images.
    """
    images_adv = images.clone()
    places = torch.arange(len(images), device=images.device)
    made_by = torch.full_like(places, -1)
    for index, attack in enumerate(attacks):
        places = places[~fooled(images_adv[places], places)]
        if not len(places):
            break
        images_adv[places], made_by[places] = attack(images_adv[places], places), index
    return Attacked(images_adv, made_by)


def attack_by_score(attacks: Iterable[Attack], images: Tensor, *, score: Score, enough: float) -> Attacked:
    """Keep of each image the version with the highest score, the last of equals; stop for it once that is enough.

    For a victim whose answers vary: the first version that happens to fool may be a weak one.

    Args:
        attacks: As for `attack_survivors`.
        images: Clean images (N, C, H, W) in [0, 1].
        score: Maps images and places to values (n,), higher is more adversarial; it judges 8-bit images.
        enough: Score at which an image counts as fooled.
    """
    best, highest = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
    made_by, rounds = torch.full((len(images),), -1, device=images.device), count(-1)

    def fooled(images_adv: Tensor, places: Tensor) -> Tensor:
        scores, index = score(images_adv, places), next(rounds)
        better = scores >= highest[places]
        made_by[places[better]] = index
        best[places[better]], highest[places[better]] = images_adv[better], scores[better]
        return scores >= enough

    last = attack_survivors(attacks, images, fooled=fooled).images
    places = (highest < enough).nonzero()[:, 0]
    if len(places):
        fooled(last[places], places)
    return Attacked(best, made_by)
