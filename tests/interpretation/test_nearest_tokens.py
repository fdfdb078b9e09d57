"""Nearest words: a vector that is a word is found at distance 0; what is no word is never found."""

import numpy as np
import open_clip
import pytest
import torch

from stages.interpretation.nearest_tokens import BLOCK, Vocabulary, nearest, random_like, vocabulary_of, word_of
from stages.models.text_tower import TextTower
from tests.models.random_models import KINDS, random_model


@pytest.fixture
def known(clip) -> tuple[TextTower, Vocabulary]:
    """The embedded model's text tower and vocabulary."""
    tower = TextTower(clip.model, clip.tokenizer)
    return tower, vocabulary_of(clip.tokenizer, tower)


@pytest.mark.parametrize(("measure", "value"), [("euclidean", 0.0), ("cosine", 1.0)])
def test_a_context_of_words_finds_exactly_these_words(known, measure, value):
    tower, vocabulary = known
    context = tower.embed(tower.tokens("a photo of the shirt"))
    found, values = nearest(context, vocabulary, measure, count=3)
    assert [vocabulary.words[index] for index in found[:, 0]] == ["a", "photo", "of", "the", "shirt"]
    torch.testing.assert_close(values[:, 0], torch.full((5,), value, dtype=torch.float64), rtol=0, atol=1e-12)
    assert measure == "cosine" or (values[:, 0] == 0).all()


def test_random_vectors_are_no_words(known):
    _, vocabulary = known
    vectors = 0.02 * torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    _, distances = nearest(vectors, vocabulary, "euclidean", count=1)
    _, cosines = nearest(vectors, vocabulary, "cosine", count=1)
    assert distances.min() > 0.1 and cosines.max() < 0.7


@pytest.mark.parametrize("measure", ["euclidean", "cosine"])
def test_the_order_is_that_of_all_distances(measure):
    """More vectors than one block, against numpy."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    vectors = torch.randn(BLOCK + 3, 5, generator=generator)
    found, values = nearest(vectors, Vocabulary(list(map(str, range(40))), embeddings), measure, count=4)
    v, e = vectors.double().numpy(), embeddings.numpy()
    if measure == "euclidean":
        table = np.linalg.norm(v[:, None] - e, axis=-1)
    else:
        table = -(v @ e.T) / np.linalg.norm(v, axis=1)[:, None] / np.linalg.norm(e, axis=1)
    order = table.argsort(1)[:, :4]
    assert found.tolist() == order.tolist()
    np.testing.assert_allclose(values.abs().numpy(), np.abs(np.take_along_axis(table, order, 1)), rtol=1e-12)


def test_what_is_no_word_is_left_out(clip, known):
    """Start and end, though learnt; padding; what the model never saw, whose embedding is zero."""
    tower, vocabulary = known
    special = tower.embed([*clip.tokenizer.all_special_ids])
    assert (special != 0).any(1).all()
    _, distances = nearest(special, vocabulary, "euclidean", count=1)
    assert distances.min() > 0.1
    learnt = (clip.model.token_embedding.weight != 0).any(1).sum()
    assert len(vocabulary.words) == learnt - 2 and (vocabulary.embeddings != 0).any(1).all()
    assert not any("_of_text" in word for word in vocabulary.words)


@pytest.mark.parametrize("kind", ["vit_b_32", "custom_text"])
def test_the_stock_vocabulary_reads_as_text(kind):
    tokenizer = open_clip.SimpleTokenizer()
    tower = TextTower(random_model(KINDS[kind][0]), tokenizer)
    vocabulary = vocabulary_of(tokenizer, tower)
    assert len(vocabulary.words) == 49408 - 3
    assert len(set(vocabulary.words)) > 49380  # the piece `-` reads as the word `--`
    assert all(word.isprintable() and word.strip() for word in vocabulary.words)
    found, distances = nearest(tower.embed(tower.tokens("a photo of a zebra")), vocabulary, "euclidean", count=1)
    assert [vocabulary.words[index] for index in found[:, 0]] == ["a", "photo", "of", "a", "zebra"]
    assert (distances == 0).all()


def test_words_pieces_and_bytes_can_be_told_apart():
    byte_of = open_clip.SimpleTokenizer().byte_decoder
    symbol_of = {byte: symbol for symbol, byte in byte_of.items()}
    spelt = {text: "".join(symbol_of[byte] for byte in text.encode()) for text in ("é", "\n")}
    assert word_of("shoe</w>", byte_of) == "shoe"
    assert word_of("sho", byte_of) == "sho-"
    assert word_of(f"{spelt['é']}</w>", byte_of) == "é"
    assert word_of(spelt["é"][:1], byte_of) == "<c3->"
    assert word_of(f"{spelt[chr(10)]}</w>", byte_of) == "<0a>"


def test_a_random_vector_has_the_size_of_its_vector_and_nothing_else():
    vectors = torch.tensor([[0.01], [3.0]], dtype=torch.float64).repeat(1, 10_000)
    twins = random_like(vectors, torch.Generator().manual_seed(0))
    torch.testing.assert_close(twins.std(1), vectors[:, 0], rtol=0.03, atol=0)
    assert torch.nn.functional.cosine_similarity(twins, vectors).abs().max() < 0.05
    assert not torch.equal(twins, random_like(vectors, torch.Generator().manual_seed(1)))
