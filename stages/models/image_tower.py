"""open_clip's own image towers, rearranged so that gradients with respect to pixels cost less; the same function.

Linear layers see matrices: with frozen weights, torch turns those of stock attention into many small products. The last
attention, of which only the first token is read, asks for that token alone. tests/models/test_image_tower.py holds
both against open_clip.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.runtime.startup import import_open_clip


def optimize_for_input_gradients(visual: Any) -> bool:
    """Rearranges an image tower in eval mode, in place, if it is of a kind that is known here; says whether it is."""
    open_clip = import_open_clip()
    if isinstance(visual, open_clip.modified_resnet.ModifiedResNet):
        fold_batch_norm(visual)
        visual.attnpool = FirstTokenPool(visual.attnpool)
        return True
    if isinstance(visual, open_clip.transformer.VisionTransformer) and all(
        map(is_standard, visual.transformer.resblocks)
    ):
        reads_first = visual.pool_type == "tok" and visual.attn_pool is None and not visual.output_tokens
        visual.transformer = MatrixTransformer(visual.transformer.resblocks, reads_first=reads_first)
        return True
    return False


def fold_batch_norm(resnet: nn.Module) -> None:
    """Fold each batch norm of a ModifiedResNet in eval mode into the convolution before it: a fifth less work."""
    for module in resnet.modules():
        names = list(module._modules)
        pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
        for first, second in pairwise(names) if isinstance(module, nn.Sequential) else pairs:
            convolution, norm = getattr(module, first), getattr(module, second, None)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())


def is_standard(block: nn.Module) -> bool:
    """Return whether a block is open_clip's default one: torch's attention, queries, keys and values in one matrix."""
    attention = getattr(block, "attn", None)
    return isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None


class MatrixTransformer(nn.Module):
    """open_clip's standard blocks over matrices (N·T, W), tokens of all images below each other.

    With `reads_first`, only the first token is read behind the last of them, and only that one comes out.
    """

    def __init__(self, resblocks: nn.ModuleList, *, reads_first: bool) -> None:
        super().__init__()
        self.resblocks = resblocks
        self.reads_first = reads_first

    def forward(self, tokens: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Maps tokens (N, T, W) to tokens (N, T, W), or to the first one (N, 1, W).

        Args:
            tokens: (N, T, W).
            prompts: Token prompts (N, L, P, W): those of layer l stand behind the tokens at the input of block l, in
                place of what the block before made of the former ones; those of layer L stay to the end.
        """
        count, own = tokens.shape[:2]
        layers = () if prompts is None else prompts.unbind(1)
        hidden = tokens.flatten(0, 1)
        full = len(self.resblocks) - self.reads_first
        blocks: Sequence[Any] = list(self.resblocks)
        for index, block in enumerate(blocks[:full]):
            if index < len(layers):
                hidden = with_prompts(hidden.unflatten(0, (count, -1)), layers[index], own).flatten(0, 1)
            hidden = hidden + block.ls_1(attend(block.attn, block.ln_1(hidden), count))
            hidden = hidden + block.ls_2(block.mlp(block.ln_2(hidden)))
        tokens = hidden.unflatten(0, (count, -1))
        if not self.reads_first:
            return tokens[:, :own]
        if full < len(layers):
            tokens = with_prompts(tokens, layers[full], own)
        last = blocks[-1]
        first = tokens[:, 0] + last.ls_1(attend_from_first(projections_of(last.attn), last.ln_1(tokens)))
        return (first + last.ls_2(last.mlp(last.ln_2(first))))[:, None]


def with_prompts(tokens: Tensor, prompts: Tensor, own: int) -> Tensor:
    """Put prompts (N, P, W) behind the first `own` of tokens (N, T, W), in place of the others."""
    return torch.cat([tokens[:, :own], prompts], dim=1)


def token_prompts_fit(visual: Any) -> bool:
    """Return whether an image tower that was rearranged here takes token prompts, as open_clip's standard ViT does."""
    return isinstance(getattr(visual, "transformer", None), MatrixTransformer)


def encode_with_tokens(visual: Any, images: Tensor, prompts: Tensor) -> Tensor:
    """Map normalised images (N, 3, H, W) to raw features (N, D) under token prompts (N, L, P, W), as a ViT does.

    The tokens enter behind the norm in front of the first block, so they have the same place in every layer.
    """
    assert token_prompts_fit(visual)
    pooled, _ = visual._pool(visual.transformer(visual._embeds(images), prompts))
    return pooled if visual.proj is None else pooled @ visual.proj


def attend(attention: nn.MultiheadAttention, hidden: Tensor, count: int) -> Tensor:
    """Attention within each of N = `count` images: (N·T, W) -> (N·T, W)."""
    projected = F.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
    parts = projected.view(count, -1, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(*parts)  # (N, heads, T, d)
    return F.linear(mixed.transpose(1, 2).flatten(2).flatten(0, 1), attention.out_proj.weight, attention.out_proj.bias)


class Projections(NamedTuple):
    """Weights of an attention, each with its bias, and its number of heads; a key's bias is the same for all tokens."""

    query: tuple[Tensor, Tensor]
    key: Tensor
    value: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    heads: int


def projections_of(attention: nn.MultiheadAttention) -> Projections:
    """Cuts the joint projection of torch's attention into three."""
    query, key, value = attention.in_proj_weight.chunk(3)
    query_bias, _, value_bias = attention.in_proj_bias.chunk(3)
    out = (attention.out_proj.weight, attention.out_proj.bias)
    return Projections((query, query_bias), key, (value, value_bias), out, attention.num_heads)


def attend_from_first(projections: Projections, tokens: Tensor) -> Tensor:
    """Return what the first of tokens (N, T, W) sees in all of them (N, W_out), by way of the smaller matrices."""
    query = F.linear(tokens[:, 0], *projections.query).unflatten(1, (projections.heads, -1))  # (N, heads, d)
    query = query * query.shape[-1] ** -0.5
    see = see_few if tokens.shape[1] < projections.heads else see_many
    return F.linear(see(projections, query, tokens).flatten(1) + projections.value[1], *projections.out)


def see_many(projections: Projections, query: Tensor, tokens: Tensor) -> Tensor:
    """Attention (N, heads, d) without keys and values: q · K x is Kᵀ q · x, and a mean of V x is V of that of x."""
    key, value = (weight.unflatten(0, (projections.heads, -1)) for weight in (projections.key, projections.value[0]))
    sought = torch.einsum("nhd,hdw->nhw", query, key)
    weights = (sought @ tokens.transpose(1, 2)).softmax(-1)  # (N, heads, T)
    return torch.einsum("nhw,hdw->nhd", weights @ tokens, value)


def see_few(projections: Projections, query: Tensor, tokens: Tensor) -> Tensor:
    """The same in the usual order: with a few tokens, keys and values are one small product."""
    joint = torch.cat([projections.key, projections.value[0]])
    both = F.linear(tokens.flatten(0, 1), joint).view(*tokens.shape[:2], 2, *query.shape[1:])
    key, value = both.unbind(2)  # (N, T, heads, d)
    weights = (query[:, None] * key).sum(-1, keepdim=True).softmax(1)
    return (weights * value).sum(1)


class FirstTokenPool(nn.Module):
    """The attention pool of CLIP's ResNets: the mean of all places asks for them and for itself.

    Source: Radford et al. 2021, sec. 2.4; the weights are those of open_clip's AttentionPool2d.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.positional_embedding: Tensor = pool.positional_embedding
        self.q_proj: nn.Linear
        self.k_proj: nn.Linear
        self.v_proj: nn.Linear
        self.c_proj: nn.Linear
        self.q_proj, self.k_proj, self.v_proj, self.c_proj = pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj
        self.num_heads = pool.num_heads

    def forward(self, maps: Tensor) -> Tensor:
        """Maps feature maps (N, W, h, w) to features (N, D)."""
        places = maps.flatten(2).transpose(1, 2)  # (N, h·w, W)
        tokens = torch.cat([places.mean(1, keepdim=True), places], dim=1) + self.positional_embedding
        query, value, out = ((layer.weight, layer.bias) for layer in (self.q_proj, self.v_proj, self.c_proj))
        return attend_from_first(Projections(query, self.k_proj.weight, value, out, self.num_heads), tokens)
