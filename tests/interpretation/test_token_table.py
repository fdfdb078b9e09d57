"""The tokens near context vectors, as a table: shared and class-specific contexts, initial values, random vectors."""

import numpy as np
import pytest
import torch

from stages.interpret import initial_value
from stages.interpretation.nearest_tokens import vocabulary_of
from stages.interpretation.token_table import nearest_tokens_table
from stages.models.text_tower import TextTower
from stages.prompts import adversarial
from stages.prompts.generators import tuning_generators, twin_generator
from stages.prompts.learners import Task
from stages.runtime.method_blocks import AdvVlp, Moapt
from stages.runtime.params import load_params
from stages.storage.prompts import PromptFile

NAMES = ["$\\frac$", "<b>", *(f"class {index}" for index in range(12))]


@pytest.fixture
def tower(clip) -> TextTower:
    return TextTower(clip.model, clip.tokenizer)


@pytest.fixture
def table_of(clip, tower):
    """Tokens of contexts that began and ended as stated."""

    def make(context, start, names=NAMES):
        vocabulary = vocabulary_of(clip.tokenizer, tower)
        return nearest_tokens_table("advpt", context, start, names, vocabulary, twin_generator(0)).to_pandas()

    return make


def test_a_shared_context_has_rows_for_each_vector_and_seed(tower, table_of):
    words, start = (tower.embed(tower.tokens(text)) for text in ("a photo of", "the shirt of"))
    table = table_of(torch.stack([words, words.flip(0)]), torch.stack([start, start]))
    assert len(table) == 2 * 3 * 2 * 3  # seeds, vectors, measures, ranks
    first = table[table["rank"] == 1]
    for _, lines in first.groupby("measure"):
        assert lines["word"].tolist() == ["a", "photo", "of", "of", "photo", "a"]
        assert lines["start_word"].tolist() == ["the", "shirt", "of"] * 2
        assert lines["seed"].tolist() == [0, 0, 0, 1, 1, 1] and lines["position"].tolist() == [1, 2, 3] * 2
    near = first[first["measure"] == "euclidean"]
    assert (near["value"] == 0).all() and (near["start_value"] == 0).all() and (near["random"] > 0.1).all()
    assert set(table["class"]) == {""}
    np.testing.assert_allclose(near["size"][:3], words.square().mean(1).sqrt(), atol=1e-6)


def test_ranks_go_away_from_the_vector(table_of):
    context = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(0))
    table = table_of(context, context)
    distances = table.loc[table["measure"] == "euclidean", ["value", "random"]].to_numpy().reshape(-1, 3, 2)
    assert (np.diff(distances, axis=1) >= 0).all()
    cosines = table.loc[table["measure"] == "cosine", ["value", "random"]].to_numpy().reshape(-1, 3, 2)
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert (table["word"] == table["start_word"]).all() and (table["value"] == table["start_value"]).all()


def test_of_class_specific_contexts_the_first_ten_are_used(tower, table_of):
    words = tower.embed(tower.tokens("shirt coat bag sandal dress a the of photo this is from an shop"))[:14]
    context = words[None, :, None]  # (1, 14, 1, D_token): one word for each class
    table = table_of(context, context.flip(1))
    first = table[(table["rank"] == 1) & (table["measure"] == "euclidean")]
    assert first["class"].tolist() == NAMES[:10]
    assert first["word"].tolist() == ["shirt", "coat", "bag", "sandal", "dress", "a", "the", "of", "photo", "this"]
    assert first["start_word"].tolist()[:3] == ["shop", "an", "from"]


def started(block, clip):
    """The initial contexts of a method with seed 7."""
    names = ["dress", "bag", "coat"]
    return initial_value(PromptFile(np.zeros((1, 3, 8)), 1.0, names, "{}", {"seed": 7, "block": block}), clip)


@pytest.mark.parametrize("classes", [None, 3])
def test_an_initial_value_is_that_of_its_seed(clip, tower, classes):
    settings = load_params().methods.find("tune_clean", "coop").settings(load_params().tune)
    block = {**settings, "context_length": 2, "tuning_seeds": 2, "class_specific": classes is not None}
    start = started(block, clip)
    assert start.shape == ((2, 2, 64) if classes is None else (2, 3, 2, 64))
    drawn = torch.randn(start.shape[1:], generator=torch.Generator().manual_seed(7001))
    torch.testing.assert_close(start[1], 0.02 * drawn)
    start = started({**block, "init_words": "a photo"}, clip)
    assert (start.unflatten(0, (2, 1)) == tower.embed(tower.tokens("a photo"))).all()


@pytest.mark.parametrize("block", [AdvVlp(kind="adv_vlp", eps=[4]), Moapt(kind="moapt", eps=[4], tuning_seeds=2)])
def test_an_initial_value_of_an_adversarial_method_is_what_its_tuning_starts_from(clip, block):
    names, generators = ["dress", "bag", "coat"], tuning_generators(7, block.tuning_seeds)
    task = Task(block.kind, block, names, "a photo of a {}.", clip, generators)
    assert torch.equal(started(block.model_dump(), clip), adversarial.learner_of(task).initial["context"])


@pytest.mark.parametrize(
    ("block", "message"),
    [({"kind": "context"}, "context_length: Field required"), ({"kind": "apt", "views": 2}, "apt: unknown key")],
)
def test_a_block_of_another_version_is_one_message(clip, block, message):
    with pytest.raises(ValueError, match=f"^the method's block is none of this version of the project: {message}"):
        started({"tuning_seeds": 1, **block}, clip)


def test_no_twin_is_the_initial_value_a_tuning_seed():
    draws = [torch.randn(4, generator=source) for source in (*tuning_generators(3, 5), twin_generator(3))]
    assert len({tuple(draw.tolist()) for draw in draws}) == 6
