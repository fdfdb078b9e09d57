"""The fast text tower against the plain one, in double precision."""

import copy

import pytest
import torch

from stages.prompts.context import assemble, initial_context
from stages.prompts.text import TextTower

NAMES = ["T-shirt/top", "Ankle boot", "dress", "bag"]


@pytest.fixture(scope="module")
def tower(clip) -> TextTower:
    return TextTower(copy.deepcopy(clip.model).double(), clip.tokenizer)


def start(tower: TextTower, length: int) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    return initial_context(tower, context_length=length, words=None, std=0.5, classes=None, generators=generators)


@pytest.mark.parametrize("length", [1, 4, 16])
def test_features_and_gradient_equal_the_plain_tower(tower, length):
    layout = assemble(NAMES, tower, context_length=length, class_position="end")
    context = start(tower, length).double().requires_grad_()
    shared = layout.text_features(context, tower)
    plain = layout.text_features(context.unsqueeze(1).expand(-1, len(NAMES), -1, -1), tower)  # as if class-specific
    weight = torch.randn(shared.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    of_shared, of_plain = (torch.autograd.grad((features * weight).sum(), context)[0] for features in (shared, plain))
    torch.testing.assert_close(shared, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(of_shared, of_plain, rtol=1e-11, atol=1e-12)


def test_blocks_of_another_kind_take_the_plain_way(tower, monkeypatch):
    layout = assemble(NAMES, tower, context_length=4, class_position="end")
    context = start(tower, 4).double()
    shared = layout.text_features(context, tower)
    monkeypatch.setattr("stages.prompts.text.shareable", lambda _: False)
    monkeypatch.setattr("stages.prompts.text.run_blocks", None)
    torch.testing.assert_close(layout.text_features(context, tower), shared, rtol=0, atol=1e-12)
