"""The text tower of a CLIP, entered with embeddings instead of tokens."""

from collections.abc import Sequence
from string import punctuation
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.packed import Packing, packable, run_blocks


class TextTower:
    """A causal text tower whose feature is read at the end of the text.

    Attributes:
        context_length: Longest sequence that it takes, start and end included.
        width: Width D_token of its token embeddings.

    Args:
        model: An open_clip model: CLIP has its text tower spread over itself, CustomTextCLIP under `.text`.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        tower = getattr(model, "text", model)
        pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
        causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
        assert causal and pool in ("argmax", "eos"), f"no context fits into a {type(tower).__name__} with pool {pool!r}"
        self._tower: Any = tower
        self._tokenizer = tokenizer
        self.context_length: int = model.context_length
        self.width: int = tower.token_embedding.weight.shape[1]

    def tokens(self, text: str) -> list[int]:
        """Tokens of a text, without start and end.

        Raises:
            ValueError: If the model never learnt a word (its embedding is zero); the message names it.
        """
        tokens = self._tokenizer.encode(text)
        if not self._is_unknown(tokens):
            return tokens
        words = [word.strip(punctuation) for word in text.split()]
        unknown = [word for word in words if self._is_unknown(self._tokenizer.encode(word))]
        raise ValueError(
            f"{text!r}: the model never learnt {', '.join(map(repr, unknown)) or 'it'}; use other words (a data set's "
            "`classes.json` can give other class names), or another model (`model.name`)"
        )

    def is_silent(self, text: str) -> bool:
        """Return whether the tokenizer leaves nothing of a text, as of blanks."""
        return not self._tokenizer.encode(text)

    def _is_unknown(self, tokens: list[int]) -> bool:
        return bool((self._tower.token_embedding.weight[tokens] == 0).all(-1).any())

    def embed(self, tokens: list[int]) -> Tensor:
        """Embeddings (T, D_token) of tokens."""
        return self._tower.token_embedding.weight[tokens]

    def frame(self) -> tuple[Tensor, Tensor]:
        """Embeddings (1, D_token) of the start and of the end of a text."""
        return self.embed([self._tokenizer.sot_token_id]), self.embed([self._tokenizer.eot_token_id])

    def encode(self, embeddings: Tensor, packing: Packing, deeper: Sequence[Tensor] = ()) -> Tensor:
        """Run the tower over texts, for each of S tuning seeds.

        Args:
            embeddings: (S, P + R, D_token), packed; no text is longer than context_length.
            packing: Where the K texts stand.
            deeper: Tokens of deeper blocks, see `run_blocks`; only where `is_fast` holds.

        Returns:
            Text features (S, K, D), unit norm; differentiable in the embeddings.
        """
        hidden = embeddings + self._tower.positional_embedding[packing.positions]
        if self.is_fast:
            return self._read(run_blocks(self._tower.transformer, hidden, packing, deeper))
        assert not deeper
        return self._read(run_padded(self._tower.transformer, hidden, packing))

    @property
    def depth(self) -> int:
        """Return the number of blocks."""
        return len(self._tower.transformer.resblocks)

    @property
    def is_fast(self) -> bool:
        """Return whether texts are packed all the way; other blocks than open_clip's standard ones see them padded."""
        return packable(self._tower.transformer)

    def _read(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., W) at the ends of texts -> text features (..., D), unit norm."""
        pooled = self._tower.ln_final(hidden)
        projection = self._tower.text_projection
        if projection is not None:
            pooled = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
        return F.normalize(pooled, dim=-1)


def run_padded(transformer: nn.Module, hidden: Tensor, packing: Packing) -> Tensor:
    """Run blocks of any kind as `run_blocks` does: each text by itself, copies of its end behind it."""
    seeds, texts = len(hidden), len(packing.places)
    shared = hidden[:, None, : packing.shared].expand(-1, texts, -1, -1)
    padded = torch.cat([shared, hidden[:, packing.places]], dim=2).flatten(0, 1)  # (S·K, P + L, W)
    length = padded.shape[1]
    future = torch.full((length, length), -torch.inf, dtype=hidden.dtype, device=hidden.device).triu(1)
    ends = (packing.shared + packing.is_own.sum(1) - 1).repeat(seeds)
    every = transformer(padded, attn_mask=future)
    return every[torch.arange(len(every), device=hidden.device), ends].unflatten(0, (seeds, texts))
