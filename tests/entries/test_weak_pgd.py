"""PGD whose step equals its eps, as FAP and others evaluate with it, is not the strongest attack at this eps.

One image that it leaves and APGD fools is the proof; how often that happens is not measured here.
"""

import numpy as np
import torch

from stages.attacks.linf import LinfBall
from stages.crafting.adaptive import package_attack, pgd_attack
from stages.crafting.batching import Batching
from stages.crafting.shards import Attack, craft_shard
from stages.defences.victim import Victim
from stages.entries.drawn import draw
from stages.entries.record import ENTRIES
from stages.evaluation.load import load_victim
from stages.models.device import to_tensor
from stages.runtime.params import PromptPgd
from stages.storage.images import Images
from tests.imports import ROOT
from tests.victims import CPU

EPS = 1


def margins(victim: Victim, images: Images) -> np.ndarray:
    """The logit of the label minus the largest other one (N,): negative if wrong."""
    with torch.no_grad():
        logits = victim(to_tensor(images.pixels, CPU))
    labels = torch.tensor(images.labels)[:, None]
    return (logits.gather(1, labels) - logits.scatter(1, labels, -torch.inf).amax(1, keepdim=True))[:, 0].numpy()


def attacked(attack: Attack, images: Images) -> Images:
    batching = Batching(1, 1, whole=True)
    return craft_shard(attack, images, ball=LinfBall(EPS / 255), seed=0, device=CPU, batching=batching)


def test_pgd_whose_step_equals_its_eps_leaves_an_image_that_apgd_fools():
    victim = load_victim(ROOT / ENTRIES / "fashion-tiny-clip-zero_shot", device="cpu")
    images = draw("fashion", "all", 100, seed=0)
    block = {"method": "pgd", "objective": "cross_entropy", "eps": EPS, "steps": 100, "step_ratio": 100, "restarts": 1}
    pgd = pgd_attack(PromptPgd.model_validate({**block, "images": "all", "tuning_seeds": 1}), victim)
    left = margins(victim, attacked(pgd, images))
    closest = np.where(left > 0, left, np.inf).argmin(keepdims=True)
    assert left[closest] > 0
    apgd = package_attack(victim, eps=EPS, version="fast", seed=0)
    assert margins(victim, attacked(apgd, images.take(closest))) < 0
