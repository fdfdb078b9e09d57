"""Find the words of the vocabulary whose embeddings are nearest to a vector."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.text_tower import TextTower

MEASURES = ("euclidean", "cosine")
PADDING = 0  # the token that open_clip fills texts up with
BLOCK = 256  # vectors at a time, so that 50,000 words need 100 MB


@dataclass(frozen=True)
class Vocabulary:
    """The V words that a model has learnt."""

    words: list[str]  # as one reads them; a piece that a word begins with, or goes on with, ends in a hyphen
    embeddings: Tensor  # (V, D_token), float64, on the CPU


def vocabulary_of(tokenizer: Any, tower: TextTower) -> Vocabulary:
    """Return all tokens but start, end and padding, and but those whose embedding is zero: the model never learnt them.

    Args:
        tokenizer: open_clip's own (`SimpleTokenizer`): its tokens are bytes, written as characters.
        tower: The text tower.
    """
    tokens = sorted(set(tokenizer.decoder) - {*tokenizer.all_special_ids, PADDING})
    embeddings = tower.embed(tokens).detach().cpu().double()
    learnt = (embeddings != 0).any(1)
    words = [
        word_of(tokenizer.decoder[token], tokenizer.byte_decoder)
        for token, kept in zip(tokens, learnt.tolist(), strict=True)
        if kept
    ]
    return Vocabulary(words, embeddings[learnt])


def word_of(symbols: str, byte_of: dict[str, int]) -> str:
    """Return a token as one reads it: `shoe`, `sho-` for a piece, `<f09f->` for bytes that are no text."""
    spelt = symbols.removesuffix("</w>")
    ending = "" if spelt != symbols else "-"
    raw = bytes(byte_of[symbol] for symbol in spelt)
    text = raw.decode("utf-8", errors="replace")
    if text.isprintable() and "\ufffd" not in text and not text.isspace():
        return text + ending
    return f"<{raw.hex()}{ending}>"


def nearest(vectors: Tensor, vocabulary: Vocabulary, measure: str, *, count: int) -> tuple[Tensor, Tensor]:
    """Find the words nearest to each vector.

    Args:
        vectors: (N, D_token).
        vocabulary: V words, at least `count`.
        measure: `euclidean` for the smallest distance, `cosine` for the largest cosine.
        count: How many words.

    Returns:
        Positions in the vocabulary (N, count), the nearest first, and their distances or cosines (N, count), float64.
    """
    assert measure in MEASURES, measure
    vectors, embeddings = vectors.cpu().double(), vocabulary.embeddings
    found = torch.cat([closeness(block, embeddings, measure).topk(count).indices for block in vectors.split(BLOCK)])
    words = embeddings[found]  # (N, count, D_token)
    if measure == "cosine":
        return found, F.cosine_similarity(vectors[:, None], words, dim=-1)
    return found, (vectors[:, None] - words).norm(dim=-1)  # from the difference itself: the same vector is at 0


def closeness(vectors: Tensor, embeddings: Tensor, measure: str) -> Tensor:
    """Return what orders the words for each vector (N, V), larger is nearer; terms equal for all words are left out."""
    if measure == "cosine":
        return vectors @ F.normalize(embeddings, dim=-1).T
    return 2 * vectors @ embeddings.T - embeddings.square().sum(1)


def random_like(vectors: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random vector for each (N, D_token), drawn from N(0, σ²), σ the root mean square of its entries."""
    sizes = vectors.square().mean(1, keepdim=True).sqrt()
    return sizes * torch.randn(vectors.shape, generator=generator, dtype=vectors.dtype)
