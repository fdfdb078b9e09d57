"""Text features of each kind of method are computed again from what it has learnt; others are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.entries.learnt import check_learnt
from stages.models.context import handwritten
from stages.models.text_tower import TextTower
from stages.prompts.adversarial import learner_of, text_arrays
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task
from stages.storage.prompts import PromptFile
from tests.crafting.test_adversarial import BLOCKS, CPU, NAMES, TEMPLATE
from tests.evaluation.test_defended_methods import METHODS

PATH = Path("prompts.safetensors")


@pytest.mark.parametrize("name", METHODS)
def test_of_each_adversarial_kind(vit, name):
    kind = name.split(",")[0]
    block = BLOCKS[kind](kind=kind, eps=[4.0], **METHODS[name])
    learner = learner_of(Task(kind, block, NAMES, TEMPLATE, vit, tuning_generators(0, 2)))
    arrays, made_by = {name: array.numpy() for name, array in learner.initial.items()}, block.model_dump()
    made = text_arrays(learner, arrays, CPU)
    prompts = PromptFile(logit_scale=1.0, class_names=NAMES, template="", provenance={}, **arrays, **made)
    check_learnt(PATH, prompts, made_by, TEMPLATE, vit)
    for other, array in made.items():
        forged = replace(prompts, **{other: np.roll(array, 1, axis=-2)})
        with pytest.raises(ValueError, match=f"{other} are not those that the method gives"):
            check_learnt(PATH, forged, made_by, TEMPLATE, vit)
    for other in arrays:
        with pytest.raises(ValueError, match="its method has learnt"):
            check_learnt(PATH, replace(prompts, **{other: None}), made_by, TEMPLATE, vit)


@pytest.mark.parametrize("templates", ["dataset", "openai_80"])
def test_of_hand_written_templates(vit, monkeypatch, templates):
    known = [TEMPLATE, "{}."]  # of the words in the 80 templates the small model has not learnt all
    monkeypatch.setattr("stages.entries.learnt.openai_templates", lambda: known)
    tower = TextTower(vit.model, vit.tokenizer)
    every = {"dataset": [TEMPLATE], "openai_80": known}
    with torch.no_grad():
        features = {name: handwritten(each, NAMES, tower).numpy() for name, each in every.items()}
    prompts = PromptFile(features.pop(templates), 1.0, NAMES, "", {})
    check_learnt(PATH, prompts, {"templates": templates}, TEMPLATE, vit)
    (other,) = features.values()
    with pytest.raises(ValueError, match="text_features are not those"):
        check_learnt(PATH, replace(prompts, text_features=other), {"templates": templates}, TEMPLATE, vit)
