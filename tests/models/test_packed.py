"""The packed text tower against whole padded sequences, in double precision."""

import copy

import pytest
import torch

from stages.models.context import Prompts, assemble, initial_context
from stages.models.packed import Packing
from stages.models.text_tower import TextTower
from tests.references import text_features

NAMES = ["T-shirt/top", "Ankle boot", "dress", "bag", "coat bag sandal"]
POSITIONS = ["end", "middle", "front"]


@pytest.fixture(scope="module")
def model(clip) -> torch.nn.Module:
    return copy.deepcopy(clip.model).double()


@pytest.fixture(scope="module")
def tower(clip, model) -> TextTower:
    return TextTower(model, clip.tokenizer)


def start(tower: TextTower, length: int, classes: int | None) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    context = initial_context(tower, context_length=length, words=None, std=0.5, classes=classes, generators=generators)
    return context.double().requires_grad_()


def prompts_of(tower: TextTower, position: str, length: int, names: list[str], *, class_specific: bool) -> Prompts:
    return assemble(names, tower, context_length=length, class_position=position, class_specific=class_specific)


@pytest.mark.parametrize("names", [NAMES, NAMES[2:3]], ids=["five", "one"])
@pytest.mark.parametrize("class_specific", [False, True], ids=["shared", "specific"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("length", [1, 5, 16])
def test_features_and_gradient_equal_whole_sequences(model, clip, tower, length, position, class_specific, names):
    prompts = prompts_of(tower, position, length, names, class_specific=class_specific)
    context = start(tower, length, len(names) if class_specific else None)
    packed = prompts.text_features(context, tower)
    naive = torch.stack([text_features(model, clip.tokenizer, names, one, position) for one in context])
    weight = torch.randn(packed.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    of_packed, of_naive = (torch.autograd.grad((found * weight).sum(), context)[0] for found in (packed, naive))
    torch.testing.assert_close(packed, naive, rtol=0, atol=1e-12)
    assert (of_packed - of_naive).norm() <= 1e-12 * of_naive.norm()


@pytest.mark.parametrize("class_specific", [False, True], ids=["shared", "specific"])
@pytest.mark.parametrize("position", POSITIONS)
def test_blocks_of_another_kind_see_padded_texts(tower, monkeypatch, position, class_specific):
    prompts = prompts_of(tower, position, 4, NAMES, class_specific=class_specific)
    context = start(tower, 4, len(NAMES) if class_specific else None)
    packed = prompts.text_features(context, tower)
    monkeypatch.setattr("stages.models.text_tower.packable", lambda _: False)
    monkeypatch.setattr("stages.models.text_tower.run_blocks", None)
    torch.testing.assert_close(prompts.text_features(context, tower), packed, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("position", "class_specific", "shared"),
    [("end", False, 17), ("middle", False, 9), ("front", False, 1), ("end", True, 1), ("middle", True, 1)],
)
def test_as_much_is_shared_as_can_be(tower, position, class_specific, shared):
    prompts = prompts_of(tower, position, 16, NAMES, class_specific=class_specific)
    each = [1 + 16 + len(tower.tokens(name + ".")) + 1 for name in NAMES]
    assert prompts.packing.shared == shared
    assert len(prompts.fixed) == shared + sum(length - shared for length in each)


def test_where_texts_stand_by_hand():
    packing = Packing.of(2, [1, 3], device=torch.device("cpu"))
    assert packing.places.tolist() == [[2, 2, 2], [3, 4, 5]]
    assert packing.is_own.tolist() == [[True, False, False], [True, True, True]]
    assert packing.own.tolist() == [0, 3, 4, 5]
    assert packing.positions.tolist() == [0, 1, 2, 2, 3, 4]
    assert packing.ends.tolist() == [2, 5]
