"""The text tower of a CLIP, entered with embeddings instead of tokens."""

from string import punctuation

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextTower:
    """A causal text tower whose feature is read at the end of the text.

    Attributes:
        context_length: Longest sequence that it takes, start and end included.
        width: Width D_token of its token embeddings.

    Args:
        model: An open_clip model: CLIP has its text tower spread over itself, CustomTextCLIP under `.text`.
        tokenizer: Its tokenizer.

    Raises:
        ValueError: If the tower is not causal or does not read its feature at the end: then no context fits in.
    """

    def __init__(self, model: nn.Module, tokenizer: object) -> None:
        tower = getattr(model, "text", model)
        pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
        causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
        if not causal or pool not in ("argmax", "eos"):
            raise ValueError(
                f"model.name: the text tower {type(tower).__name__} (pool {pool!r}) is not causal or not read at "
                "the end of the text; no learnable context fits in, choose another model"
            )
        self._tower = tower
        self._tokenizer = tokenizer
        self.context_length: int = model.context_length
        self.width: int = tower.token_embedding.weight.shape[1]

    def tokens(self, text: str) -> list[int]:
        """Tokens of a text, without start and end.

        Raises:
            ValueError: If the model never learnt a word (its embedding is zero); the message names it.
        """
        words = [word.strip(punctuation) for word in text.split()]
        unknown = [word for word in words if self._is_unknown(self._tokenizer.encode(word))]
        tokens = self._tokenizer.encode(text)
        if self._is_unknown(tokens):
            raise ValueError(
                f"{text!r}: the model never learnt {', '.join(map(repr, unknown)) or 'it'}; use other words"
            )
        return tokens

    def _is_unknown(self, tokens: list[int]) -> bool:
        return bool((self._tower.token_embedding.weight[tokens] == 0).all(-1).any())

    def embed(self, tokens: list[int]) -> Tensor:
        """Embeddings (T, D_token) of tokens."""
        return self._tower.token_embedding.weight[tokens]

    def frame(self) -> tuple[Tensor, Tensor]:
        """Embeddings (1, D_token) of the start and of the end of a text."""
        return self.embed([self._tokenizer.sot_token_id]), self.embed([self._tokenizer.eot_token_id])

    def encode(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Runs the tower over sequences; what stands behind a sequence's end cannot matter, for attention is causal.

        Args:
            embeddings: (P, T, D_token), T <= context_length.
            ends: Position (P,) of the end of each text.

        Returns:
            Text features (P, D), unit norm; differentiable in the embeddings.
        """
        tower, length = self._tower, embeddings.shape[1]
        hidden = embeddings + tower.positional_embedding[:length]
        hidden = tower.ln_final(tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length]))
        pooled = hidden[torch.arange(len(hidden), device=hidden.device), ends]
        projection = tower.text_projection
        if projection is not None:
            pooled = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
        return F.normalize(pooled, dim=-1)
