"""Prompts with learnable context: [start] [context] class name . [end], and its other arrangements."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.prompts.packed import Packing
from stages.prompts.text import TextTower

Part = str | slice  # a text, or the context vectors of that range


@dataclass(frozen=True)
class Prompts:
    """K prompts, packed, in which the places of the context are still free.

    Attributes:
        fixed: Embeddings (P + R, D_token); zero where context goes.
        slots: Rows of `fixed` that take a context vector.
        vectors: Which one each of them takes; those of class-specific contexts are counted through.
        packing: Where each prompt stands.
    """

    fixed: Tensor
    slots: Tensor
    vectors: Tensor
    packing: Packing

    def text_features(self, context: Tensor, tower: TextTower) -> Tensor:
        """Puts the context into the prompts and encodes them.

        Args:
            context: (S, M, D_token), shared by the classes, or (S, K, M, D_token); S tuning seeds.
            tower: The text tower.

        Returns:
            Text features (S, K, D), unit norm; differentiable in the context.
        """
        prompts = self.fixed.expand(len(context), -1, -1).clone()  # (S, P + R, D_token)
        prompts[:, self.slots] = context.flatten(1, -2)[:, self.vectors]
        return tower.encode(prompts, self.packing)


def assemble(
    class_names: list[str], tower: TextTower, *, context_length: int, class_position: str, class_specific: bool
) -> Prompts:
    """Prepares the prompts of all classes; underscores in names are read as spaces.

    Args:
        class_names: K names.
        tower: The text tower.
        context_length: Number M of context vectors.
        class_position: Where the name stands: `end`, `middle` or `front` of the context.
        class_specific: Whether each class has a context of its own.

    Raises:
        ValueError: If a prompt is longer than the tower takes, or a word unknown; the message names the class.

    Source: CoOp (Zhou et al. 2022), sec. 3.2.
    """
    parts = arrangement(context_length, class_position)
    rows, slots = zip(*[arrange(parts, name, tower) for name in class_names], strict=True)
    leading = sum(place == index + 1 for index, place in enumerate(slots[0]))  # context right behind the start
    shared = 1 if class_specific else 1 + leading
    vectors = []
    for index, (row, places) in enumerate(zip(rows, slots, strict=True)):
        first = index * context_length if class_specific else 0
        vectors.append(torch.full((len(row),), -1))
        vectors[-1][places] = torch.arange(first, first + context_length)
    taken = pack(vectors, shared).to(rows[0].device)
    (free,) = torch.nonzero(taken >= 0, as_tuple=True)
    return Prompts(pack(rows, shared), free, taken[free], packing_of(rows, shared))


def pack(texts: Sequence[Tensor], shared: int) -> Tensor:
    """Joins K texts (T, ...) of any lengths into one row (P + R, ...); their first P = `shared` tokens are the same."""
    return torch.cat([texts[0][:shared], *(text[shared:] for text in texts)])


def packing_of(texts: Sequence[Tensor], shared: int) -> Packing:
    """Where `pack` puts them."""
    return Packing.of(shared, [len(text) - shared for text in texts], device=texts[0].device)


def arrangement(context_length: int, class_position: str) -> list[Part]:
    """Context and texts in order, `{}` standing for the class name."""
    half = context_length // 2
    return {
        "end": [slice(0, context_length), "{}."],
        "middle": [slice(0, half), "{}", slice(half, context_length), "."],
        "front": ["{}", slice(0, context_length), "."],
    }[class_position]


def readable(parts: list[Part]) -> str:
    """An arrangement for people: [M] stands for M context vectors."""
    words = (f"[{part.stop - part.start}]" if isinstance(part, slice) else part for part in parts)
    return " ".join(words).replace(" .", ".")


def arrange(parts: list[Part], class_name: str, tower: TextTower) -> tuple[Tensor, list[int]]:
    """One prompt: embeddings (T, D_token) with zeros for the context, and the positions of the context."""
    start, end = tower.frame()
    name = class_name.replace("_", " ")
    pieces, slots = [start], []
    for part in parts:
        if isinstance(part, slice):
            first = sum(map(len, pieces))
            slots += range(first, first + part.stop - part.start)
            pieces.append(start.new_zeros(part.stop - part.start, tower.width))
        else:
            pieces.append(tower.embed(tower.tokens(part.replace("{}", name))))
    row = torch.cat([*pieces, end])
    if len(row) > tower.context_length:
        context = f"{len(slots)} context vectors (context_length) and " if slots else ""
        raise ValueError(
            f"class {name!r}: {context}the words make {len(row)} tokens; the text tower takes {tower.context_length}"
        )
    return row, slots


def initial_context(
    tower: TextTower,
    *,
    context_length: int,
    words: str | None,
    std: float,
    classes: int | None,
    generators: list[torch.Generator],
) -> Tensor:
    """Where tuning starts: N(0, std²), or the embeddings of some words.

    Args:
        tower: The text tower.
        context_length: Number M of context vectors.
        words: For example "a photo of a"; None for a random start.
        std: Standard deviation of the random start.
        classes: Number K of classes for class-specific contexts, None for a shared one.
        generators: One source of randomness for each of the S tuning seeds.

    Returns:
        Context (S, M, D_token) or (S, K, M, D_token).

    Raises:
        ValueError: If the words have not M tokens.
    """
    shape = (context_length, tower.width) if classes is None else (classes, context_length, tower.width)
    if words is None:
        drawn = [torch.randn(shape, generator=generator) for generator in generators]
        return std * torch.stack(drawn).to(tower.frame()[0].device)
    tokens = tower.tokens(words)
    if len(tokens) != context_length:
        raise ValueError(
            f"init_words: {words!r} has {len(tokens)} tokens; set context_length beside it to {len(tokens)}"
        )
    return tower.embed(tokens).expand(len(generators), *shape).clone()


def handwritten(templates: str | list[str], class_names: list[str], tower: TextTower) -> Tensor:
    """Text features (1, K, D), unit norm, of hand-written templates such as "a photo of a {}.".

    Args:
        templates: One, or an ensemble: then the unit features of a class are averaged and normalised again.
        class_names: K names.
        tower: The text tower.

    Raises:
        ValueError: If a prompt is longer than the tower takes, or a word unknown; the message names the class.

    Source: Radford et al. 2021, sec. 3.1.4.
    """
    templates = [templates] if isinstance(templates, str) else templates
    features = torch.stack([encode_class(templates, name, tower) for name in class_names])  # (K, templates, D)
    if len(templates) == 1:
        return features.transpose(0, 1)
    return F.normalize(features.mean(1), dim=-1)[None]


def encode_class(templates: list[str], class_name: str, tower: TextTower) -> Tensor:
    """Text features (templates, D), unit norm, of one class, in one batch."""
    rows = [arrange([template], class_name, tower)[0] for template in templates]
    return tower.encode(pack(rows, shared=1)[None], packing_of(rows, shared=1))[0]
