"""PGD whose step equals its eps, as FAP and others evaluate with it, is weaker than APGD on the same loss.

On 200 images of tiny-clip, 100 steps of the first leave 166, 135 and 86 at eps 1, 2 and 4, those of APGD 164, 130, 68.
"""

import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor

from stages.attacks.eight_bit import through_8_bits
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.crafting.adaptive import pgd_attack
from stages.crafting.batching import Batching
from stages.crafting.shards import Attack, craft_shard
from stages.entries.drawn import draw
from stages.entries.record import ENTRIES
from stages.evaluation.load import load_victim
from stages.models.device import to_tensor
from stages.runtime.params import PromptPgd
from tests.imports import ROOT
from tests.victims import CPU

EPS, STEPS = 4, 100


def test_pgd_whose_step_equals_its_eps_leaves_more_than_apgd_does():
    victim = load_victim(ROOT / ENTRIES / "fashion-tiny-clip-zero_shot", device="cpu")
    images = draw("fashion", "all", 50, seed=0)
    block = {"method": "pgd", "objective": "cross_entropy", "eps": EPS, "steps": STEPS, "step_ratio": STEPS}
    pgd = PromptPgd.model_validate({**block, "restarts": 1, "images": "all", "tuning_seeds": 1})

    def apgd(clean: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        package = APGDAttack(through_8_bits(victim), n_iter=STEPS, eps=EPS / 255, loss="ce", seed=0, device="cpu")
        return package.perturb(clean.contiguous(), labels)

    def left(attack: Attack) -> int:
        """How many images stay right as they would be stored."""
        batching = Batching(50, 1, whole=True)
        crafted = craft_shard(attack, images, ball=LinfBall(EPS / 255), seed=0, device=CPU, batching=batching)
        with torch.no_grad():
            predicted = victim(to_tensor(crafted.pixels, CPU)).argmax(1)
        return int((predicted == torch.tensor(crafted.labels)).sum())

    assert left(pgd_attack(pgd, victim)) > left(apgd) + 1
