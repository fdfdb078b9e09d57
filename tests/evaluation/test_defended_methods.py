"""Every kind of defence, with settings that leave a grey image as it is, gives each kind of method its own logits."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from stages.attacks.noise import ImageNoise
from stages.evaluation.load import victim_of
from stages.prompts.adversarial import learner_of, text_arrays
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task
from stages.runtime.method_blocks import TEST_TIME, ImageProcessing, kinds_of
from stages.storage.prompts import PromptFile
from tests.crafting.test_adversarial import BLOCKS, CPU, NAMES, TEMPLATE

METHODS = {
    "adv_vp": {},
    "apt": {"class_position": "front"},
    "apt, a context for each class": {"class_specific": True},
    "moapt": {"contexts": 2},
    "adv_vlp": {"class_position": "middle"},
    "adv_vpt": {},
    "adv_vlpt": {},
    "fap": {"depth": 2},
}
HAND_WRITTEN = ("zero_shot", "class_bias")
FAINT = 1e-9
DEFENCES = {
    "jpeg": {"quality": 100},
    "bits": {"bits": 8},
    "median": {"size": 3},
    "gaussian": {"sigma": 1.0},
    "total_variation": {"weight": FAINT},
    "wavelet": {"sigma": FAINT},
    "resize_pad": {"smallest": 1.0},
    "random_noise": {"eps": FAINT},
    "tte": {"shift": 2},
    "view_ensemble": {"views": 2},
    "anti_adversary": {"step_size": FAINT},
    "ttc": {"eps": FAINT},
    "r_tpt": {"views": 3, "neighbours": 2, "lr": FAINT},
    "csr": {"threshold": -1.0},
    "et3": {"step_size": FAINT},
    "clipure_cos": {"step_size": FAINT},
}
SEVERAL_CONTEXTS = ("apt, a context for each class", "moapt")  # r_tpt tunes one
assert {name.split(",")[0] for name in METHODS} == BLOCKS.keys()
assert DEFENCES.keys() == TEST_TIME | kinds_of(get_args(ImageProcessing))


@pytest.fixture(scope="module", params=[*METHODS, *HAND_WRITTEN])
def method(request, vit) -> str:
    """A method of two tuning seeds, its parameters drawn at random, and its name."""
    kind = "adv_vp" if request.param in HAND_WRITTEN else request.param.split(",")[0]
    block = BLOCKS[kind](kind=kind, eps=[4.0], **METHODS.get(request.param, {}))
    generators = tuning_generators(0, 2)
    learner = learner_of(Task(kind, block, NAMES, TEMPLATE, vit, generators))
    drawn = {name: torch.randn(start.shape, generator=generators[0]) / 5 for name, start in learner.initial.items()}
    arrays = {name: array.numpy() for name, array in drawn.items()}
    arrays |= text_arrays(learner, arrays, CPU)
    if request.param in HAND_WRITTEN:
        del arrays["pixels"]
    if request.param == "class_bias":
        arrays["logit_bias"] = torch.randn(2, len(NAMES), generator=generators[0]).numpy()
    prompts = PromptFile(logit_scale=vit.logit_scale, class_names=NAMES, template="", provenance={}, **arrays)
    return request.param, replace(prompts, provenance={"behind": {"block": block.model_dump()}})


@pytest.mark.parametrize("kind", DEFENCES)
def test_a_defence_that_changes_nothing_leaves_a_method_its_own_logits(vit, method, kind):
    name, prompts = method
    made_by = {**prompts.provenance, "block": {"defence": {"kind": kind, **DEFENCES[kind]}}}
    behind = replace(prompts, provenance=made_by)
    if kind == "r_tpt" and name in SEVERAL_CONTEXTS:
        with pytest.raises(ValueError, match=r"defence r_tpt: the method .* is allowed"):
            victim_of(behind, vit, seed=1)
        return
    greys = torch.tensor([30, 128, 230]).view(3, 1, 1, 1).expand(-1, 3, 32, 32) / 255
    with torch.no_grad():
        own = victim_of(prompts, vit, seed=1)(greys)
        found = victim_of(behind, vit, seed=1)(greys, ImageNoise(0, list("abc")))
    assert own.std(0).min() > 0.1, "the images differ to the method"
    torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-3)
