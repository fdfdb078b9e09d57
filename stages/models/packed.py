"""The text tower over all prompts in one row of tokens: no padding, what they share only once, behind the ends nothing.

    [start] [context] | dress . [end] | ankle boot . [end] | ...

Attention is causal, so what the shared beginning becomes inside the tower does not depend on the text behind it. The
reference is open_clip's tower on padded prompts; features and gradients are equal (tests/models/test_packed.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Packing:
    """Places of K texts in one row of P + R tokens: P that they share, then R that are their own, text by text.

    Attributes:
        shared: P, at least 1.
        places: Rows (K, L) of each text's own tokens, L the most that one has; behind its end, that of its end again.
        is_own: (K, L), false behind the end.
        own: Where each of the R own tokens stands in the flattened `places`.
        positions: Position (P + R,) of each token within its text.
    """

    shared: int
    places: Tensor
    is_own: Tensor
    own: Tensor
    positions: Tensor

    @classmethod
    def of(cls, shared: int, lengths: list[int], *, device: torch.device) -> "Packing":
        """Packs K texts behind `shared` common tokens; `lengths` counts the tokens of their own, at least 1 each."""
        counts, steps = torch.tensor(lengths)[:, None], torch.arange(max(lengths))
        is_own = steps < counts  # (K, L)
        places = shared + counts.cumsum(0) - counts + torch.minimum(steps, counts - 1)
        positions = torch.cat([torch.arange(shared), (shared + steps).expand_as(places)[is_own]])
        return cls(shared, *(t.to(device) for t in (places, is_own, is_own.flatten().nonzero()[:, 0], positions)))

    @property
    def ends(self) -> Tensor:
        """Rows (K,) of the ends of the texts."""
        return self.places[:, -1]


def packable(transformer: Any) -> bool:
    """Return whether the blocks of a tower are open_clip's standard ones, the only ones that this file can run."""
    return all(
        isinstance(getattr(block, "attn", None), nn.MultiheadAttention) and block.attn.in_proj_weight is not None
        for block in transformer.resblocks
    )


def run_blocks(transformer: Any, hidden: Tensor, packing: Packing, deeper: Sequence[Tensor] = ()) -> Tensor:
    """Run the blocks of a tower over packed texts, for each of S tuning seeds.

    Args:
        transformer: Blocks for which `packable` holds.
        hidden: (S, P + R, W), positions added.
        packing: Where the texts stand.
        deeper: Tokens (S, M, W) that take the place of those behind the start at the input of the second block, of the
            third, and so on; no more than blocks.

    Returns:
        Hidden states at the ends (S, K, W).
    """
    *blocks, last = transformer.resblocks
    for index, block in enumerate(blocks):
        hidden = with_context(hidden, deeper, index)
        hidden = hidden + block.ls_1(attend(block.attn, block.ln_1(hidden), packing))
        hidden = hidden + block.ls_2(block.mlp(block.ln_2(hidden)))
    hidden = with_context(hidden, deeper, len(blocks))
    ends = hidden[:, packing.ends] + last.ls_1(attend_from_ends(last.attn, last.ln_1(hidden), packing))
    return ends + last.ls_2(last.mlp(last.ln_2(ends)))


def with_context(hidden: Tensor, deeper: Sequence[Tensor], index: int) -> Tensor:
    """Put the tokens of a block, if it has some of its own, behind the start of packed texts (S, P + R, W)."""
    if not 0 < index <= len(deeper):
        return hidden
    tokens = deeper[index - 1]
    return torch.cat([hidden[:, :1], tokens, hidden[:, 1 + tokens.shape[1] :]], dim=1)


def attend(attention: nn.MultiheadAttention, hidden: Tensor, packing: Packing) -> Tensor:
    """Causal attention within what is shared; from each text's own tokens to what is shared and to themselves.

    Args:
        attention: Its weights.
        hidden: (S, P + R, W).
        packing: Where the texts stand.

    Returns:
        (S, P + R, W).
    """
    projected = F.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = by_head(projected[:, : packing.shared], attention, 3)  # (S, heads, P, d) each
    of_shared = F.scaled_dot_product_attention(query, key, value, is_causal=True)

    own = projected[:, packing.places.flatten()]  # (S, K·L, 3·W)
    length = packing.places.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril()
    own_query, own_key, own_value = by_head(own, attention, 3)
    of_own = attend_own(own_query, own_key, own_value, key, value, past)  # (S, heads, K·L, d)
    joined = torch.cat([merge(of_shared), merge(of_own)[:, packing.own]], dim=1)
    return F.linear(joined, attention.out_proj.weight, attention.out_proj.bias)


def attend_from_ends(attention: nn.MultiheadAttention, hidden: Tensor, packing: Packing) -> Tensor:
    """The same for the K ends alone: all other rows are only looked at. Returns (S, K, W)."""
    width = hidden.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    (query,) = by_head(F.linear(hidden[:, packing.ends], weight[:width], bias[:width]), attention, 1)
    projected = F.linear(hidden, weight[width:], bias[width:])
    shared_key, shared_value = by_head(projected[:, : packing.shared], attention, 2)
    key, value = by_head(projected[:, packing.places.flatten()], attention, 2)
    of_ends = attend_own(query, key, value, shared_key, shared_value, packing.is_own[:, None])
    return F.linear(merge(of_ends), attention.out_proj.weight, attention.out_proj.bias)


def attend_own(
    query: Tensor, key: Tensor, value: Tensor, shared_key: Tensor, shared_value: Tensor, seen: Tensor
) -> Tensor:
    """Attention from K texts to what they share and, each, to their own tokens, in one softmax and without copies.

    Args:
        query: (S, heads, K·Q, d), Q for each text.
        key: (S, heads, K·L, d).
        value: (S, heads, K·L, d).
        shared_key: (S, heads, P, d).
        shared_value: (S, heads, P, d).
        seen: Which own tokens each query sees, (Q, L) or (K, Q, L).

    Returns:
        (S, heads, K·Q, d).
    """
    *_, queries, length = seen.shape
    shared = shared_key.shape[2]
    query = query * query.shape[-1] ** -0.5
    keys, values = (part.unflatten(2, (-1, length)) for part in (key, value))  # (S, heads, K, L, d)
    to_shared = query @ shared_key.transpose(-1, -2)  # (S, heads, K·Q, P)
    to_own = (query.unflatten(2, (-1, queries)) @ keys.transpose(-1, -2)).masked_fill(~seen, -torch.inf)
    weights = torch.cat([to_shared, to_own.flatten(2, 3)], dim=-1).softmax(-1)  # (S, heads, K·Q, P + L)
    of_own = weights[..., shared:].unflatten(2, (-1, queries)) @ values  # (S, heads, K, Q, d)
    return weights[..., :shared] @ shared_value + of_own.flatten(2, 3)


def by_head(projected: Tensor, attention: nn.MultiheadAttention, parts: int) -> tuple[Tensor, ...]:
    """(S, T, parts·W) -> as many of (S, heads, T, d)."""
    return projected.unflatten(-1, (parts, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def merge(heads: Tensor) -> Tensor:
    """(S, heads, T, d) -> (S, T, W)."""
    return heads.transpose(1, 2).flatten(2)
