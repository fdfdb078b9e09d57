"""The text tower when all prompts begin alike: the beginning is computed once, each class's own tokens attend to it.

Attention is causal, so what [start] [context] becomes inside the tower does not depend on the class name behind it. The
plain way in text.py is the reference; both give the same features and gradients (tests/prompts/test_prefix.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shareable(transformer: nn.Module) -> bool:
    """Whether the blocks of a tower are open_clip's standard ones, the only ones that this file can run."""
    return all(
        isinstance(getattr(block, "attn", None), nn.MultiheadAttention) and block.attn.in_proj_weight is not None
        for block in transformer.resblocks
    )


def run_blocks(transformer: nn.Module, prefix: Tensor, suffixes: Tensor, ends: Tensor) -> Tensor:
    """Runs the blocks over one prefix and K suffixes for each of S tuning seeds.

    Args:
        transformer: Blocks for which `shareable` holds.
        prefix: (S, P, W), the beginning of every prompt, positions added.
        suffixes: (S, K, L, W), what follows it, positions added.
        ends: Position (K,) of the end of each text within its suffix.

    Returns:
        Hidden states at the ends (S, K, W).
    """
    prefix_length, suffix_length = prefix.shape[1], suffixes.shape[2]
    hidden = torch.cat([prefix, suffixes.flatten(1, 2)], dim=1)  # (S, P + K·L, W)
    rows = prefix_length + suffix_length * torch.arange(len(ends), device=ends.device) + ends  # of the ends in `hidden`
    for block in transformer.resblocks:
        hidden = hidden + block.ls_1(attend(block.attn, block.ln_1(hidden), prefix_length, suffix_length))
        if block is transformer.resblocks[-1]:
            hidden = hidden[:, rows]  # nobody reads the others
        hidden = hidden + block.ls_2(block.mlp(block.ln_2(hidden)))
    return hidden


def attend(attention: nn.MultiheadAttention, hidden: Tensor, prefix_length: int, suffix_length: int) -> Tensor:
    """Causal attention within the prefix; from each suffix to the prefix and to itself.

    Args:
        attention: Its weights.
        hidden: (S, P + K·L, W).
        prefix_length: P.
        suffix_length: L.

    Returns:
        (S, P + K·L, W).
    """
    heads = attention.num_heads
    projected = F.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (S, heads, P + K·L, d)
    head, tail = slice(0, prefix_length), slice(prefix_length, None)
    of_prefix = F.scaled_dot_product_attention(query[:, :, head], key[:, :, head], value[:, :, head], is_causal=True)

    tails = [part[:, :, tail].unflatten(2, (-1, suffix_length)) for part in (query, key, value)]  # (S, heads, K, L, d)
    future = torch.ones(suffix_length, suffix_length, dtype=torch.bool, device=hidden.device).triu(1)
    to_prefix = query[:, :, tail] @ key[:, :, head].transpose(-1, -2)  # (S, heads, K·L, P)
    to_itself = (tails[0] @ tails[1].transpose(-1, -2)).masked_fill(future, -torch.inf)  # (S, heads, K, L, L)
    scores = torch.cat([to_prefix, to_itself.flatten(2, 3)], dim=-1) * query.shape[-1] ** -0.5
    weights = scores.softmax(-1)  # (S, heads, K·L, P + L)
    of_itself = weights[..., prefix_length:].unflatten(2, (-1, suffix_length)) @ tails[2]
    of_suffixes = weights[..., :prefix_length] @ value[:, :, head] + of_itself.flatten(2, 3)
    return attention.out_proj(torch.cat([of_prefix, of_suffixes], dim=2).transpose(1, 2).flatten(2))
