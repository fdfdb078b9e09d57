"""What a prediction costs is counted, not stated."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from stages.defences.anti_adversary import anti_adversary
from stages.defences.csr import csr
from stages.defences.test_time import TestTime
from stages.defences.ttc import ttc
from stages.defences.views import tte
from stages.evaluation.cost import count_cost
from stages.evaluation.load import victim_of
from stages.storage.prompts import PromptFile
from tests.victims import random_victim

SMALL = {"eps": 4, "steps": 3, "step_size": 1, "threshold": 0.2}
COSTS = [
    (partial(tte, shift=2), 10, 0),
    (partial(anti_adversary, steps=2, step_size=1.0), 4, 2),  # the prediction, two steps, the logits
    (partial(csr, radius=6.0, **SMALL), 9, 3),  # image, low pass, three steps, each of them compared, the logits
    (partial(ttc, sharpness=2.0, **SMALL), 30, 15),  # five draws of: image, noise, three steps, the logits
]


@pytest.mark.parametrize(("function", "forwards", "backwards"), COSTS, ids=["tte", "anti_adversary", "csr", "ttc"])
def test_the_passes_of_one_image_through_the_image_tower_are_counted(clip, function, forwards, backwards):
    victim = random_victim(clip, test_time=TestTime(function))
    assert count_cost(victim) == count_cost(victim) == {"forwards": forwards, "backwards": backwards, "text": 0}


def test_passes_of_the_text_tower_are_counted_where_a_defence_tunes_the_context(clip):
    """Five draws of: three views; the text features forwards and backwards, and again with the tuned context."""
    texts = F.normalize(torch.randn(1, 3, 128, generator=torch.Generator().manual_seed(0)), dim=-1).numpy()
    block = {"defence": {"kind": "r_tpt", "views": 3, "neighbours": 2}}
    prompts = PromptFile(texts, 10.0, ["dress", "coat", "bag"], "a {}", {"block": block})
    assert count_cost(victim_of(prompts, clip, seed=0)) == {"forwards": 15, "backwards": 0, "text": 15}


def test_a_method_without_a_defence_costs_one_forward_pass_with_token_prompts_too(clip, vit):
    width = vit.model.visual.transformer.resblocks[0].ln_1.weight.shape[0]
    for victim in (random_victim(clip), random_victim(vit), random_victim(vit, tokens=torch.zeros(2, 4, width))):
        assert count_cost(victim) == {"forwards": 1, "backwards": 0, "text": 0}
