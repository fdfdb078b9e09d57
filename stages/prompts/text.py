"""The text tower of a CLIP, entered with embeddings instead of tokens."""

from string import punctuation

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.prompts.prefix import run_blocks, shareable


class TextTower:
    """A causal text tower whose feature is read at the end of the text.

    Attributes:
        context_length: Longest sequence that it takes, start and end included.
        width: Width D_token of its token embeddings.

    Args:
        model: An open_clip model: CLIP has its text tower spread over itself, CustomTextCLIP under `.text`.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: nn.Module, tokenizer: object) -> None:
        tower = getattr(model, "text", model)
        pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
        causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
        assert causal and pool in ("argmax", "eos"), f"no context fits into a {type(tower).__name__} with pool {pool!r}"
        self._tower = tower
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
        raise ValueError(f"{text!r}: the model never learnt {', '.join(map(repr, unknown)) or 'it'}; use other words")

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
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
        return self._read(hidden[torch.arange(len(hidden), device=hidden.device), ends])

    def encode_after(self, prefix: Tensor, suffixes: Tensor, ends: Tensor) -> Tensor:
        """The same features as `encode` of every prefix followed by each of its suffixes, computed prefix by prefix.

        Args:
            prefix: (S, P, D_token), how all K texts of a seed begin.
            suffixes: (K, L, D_token), how each goes on, P + L <= context_length.
            ends: Position (K,) of the end of each text within its suffix.

        Returns:
            Text features (S, K, D), unit norm; differentiable in the prefix.
        """
        seeds, length = prefix.shape[:2]
        positions = self._tower.positional_embedding[: length + suffixes.shape[1]]
        if not shareable(self._tower.transformer):
            whole = [prefix[:, None].expand(-1, len(suffixes), -1, -1), suffixes.expand(seeds, -1, -1, -1)]
            features = self.encode(torch.cat(whole, dim=2).flatten(0, 1), (ends + length).repeat(seeds))
            return features.unflatten(0, (seeds, -1))
        prefix, suffixes = prefix + positions[:length], (suffixes + positions[length:]).expand(seeds, -1, -1, -1)
        return self._read(run_blocks(self._tower.transformer, prefix, suffixes, ends))

    def _read(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., W) at the ends of texts -> text features (..., D), unit norm."""
        pooled = self._tower.ln_final(hidden)
        projection = self._tower.text_projection
        if projection is not None:
            pooled = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
        return F.normalize(pooled, dim=-1)
