"""The slow, plain ways that fast ones are held against: open_clip's own towers, nothing shared, nothing left out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def text_features(
    model: nn.Module,
    tokenizer: Callable[[list[str]], Tensor],
    class_names: list[str],
    context: Tensor,
    position: str,
    deeper: Sequence[Tensor] = (),
) -> Tensor:
    """Text features (K, D) of learnable prompts as CoOp computes them: K whole sequences of 77 tokens, padded.

    Args:
        model: An open_clip CLIP.
        tokenizer: Its tokenizer.
        class_names: K names.
        context: (M, D_token), or (K, M, D_token), one for each class.
        position: Where the name stands: `end`, `middle` or `front` of the context.
        deeper: Tokens (M, D_token) that replace those behind the start at the input of the second block, the third, ...
    """
    length = context.shape[-2]
    before = {"end": length, "middle": length // 2, "front": 0}[position]
    behind = length - before
    tokens = tokenizer([f"{'x ' * before}{name}{' x' * behind}." for name in class_names])
    ends = tokens.argmax(-1, keepdim=True)  # (K, 1)
    steps = torch.arange(length)
    places = torch.where(steps < before, 1 + steps, ends - 1 - length + steps)  # behind the name, but before "."
    rows = torch.arange(len(tokens))[:, None]
    sequences = model.token_embedding.weight[tokens].clone()  # (K, 77, D_token)
    sequences[rows, places] = context.expand(len(tokens), -1, -1)
    hidden = sequences + model.positional_embedding
    for index, block in enumerate(model.transformer.resblocks):
        if 0 < index <= len(deeper):
            hidden = hidden.clone()
            hidden[:, 1 : 1 + length] = deeper[index - 1]
        hidden = block(hidden, attn_mask=model.attn_mask)
    read = model.ln_final(hidden)[rows, ends][:, 0]
    return F.normalize(read @ model.text_projection, dim=-1)


def feature_attack(
    model: nn.Module, encode: Callable[[Tensor], Tensor], images: Tensor, start: Tensor, *, eps: float, steps: int
) -> Tensor:
    """AdvPT's label-free PGD as a plain loop: back through everything, the weights too, at every step.

    Args:
        model: What is attacked; its parameters take gradients, unless they are frozen.
        encode: Maps images (N, C, H, W) to raw image features (N, D), through `model`.
        images: Clean images (N, C, H, W) in [0, 1].
        start: Where the attack begins, inside the ball.
        eps: Radius in L-infinity, in units of the pixel range.
        steps: Gradient steps, each of 1.25 * eps / steps.
    """
    with torch.no_grad():
        clean = encode(images).softmax(-1)
    images_adv = start
    for _ in range(steps):
        images_adv = images_adv.detach().requires_grad_()
        F.kl_div(encode(images_adv).log_softmax(-1), clean, reduction="sum").backward()
        images_adv = images_adv.detach() + 1.25 * eps / steps * images_adv.grad.sign()
        images_adv = torch.min(torch.max(images_adv, images - eps), images + eps).clamp(0, 1)
        model.zero_grad()
    return images_adv.detach()


def normalised(visual: Any, images: Tensor) -> Tensor:
    """Scale images (N, C, H, W) as the model's own preprocessing does."""
    dtype = next(visual.parameters()).dtype
    mean, std = (torch.tensor(visual.preprocess_cfg[key]).view(3, 1, 1).to(dtype) for key in ("mean", "std"))
    return (images - mean) / std


def features_with_tokens(visual: Any, images: Tensor, tokens: Tensor) -> Tensor:
    """Raw features (N, D) of normalised images under token prompts (L, P, W), block after block of stock open_clip."""
    hidden = visual._embeds(images)
    own = hidden.shape[1]
    for index, block in enumerate(visual.transformer.resblocks):
        if index < len(tokens):
            layer = torch.stack([tokens[index]] * len(images))
            hidden = torch.cat([hidden[:, :own], layer], dim=1)
        hidden = block(hidden)
    pooled, _ = visual._pool(hidden[:, :own])
    return pooled @ visual.proj
