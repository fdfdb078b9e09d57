"""Prompts with learnable context: [start] [context] class name . [end], and its other arrangements."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.packed import Packing
from stages.models.text_tower import TextTower

Part = str | slice  # a text, or the context vectors of that range
RENAME = "rename one (a folder of your own: in its classes.json)"
FREE = -1  # instead of a token: a context vector goes there
LAYOUT = {"context_length", "class_position", "class_specific"}  # keys of a block that `assemble` takes


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

    def text_features(self, context: Tensor, tower: TextTower, deeper: Sequence[Tensor] = ()) -> Tensor:
        """Put the context into the prompts and encode them.

        Args:
            context: (S, M, D_token), shared by the classes, or (S, K, M, D_token); S tuning seeds.
            tower: The text tower.
            deeper: Vectors (S, M, D_token) that take the place of a context behind the start in the second block, in
                the third, and so on.

        Returns:
            Text features (S, K, D), unit norm; differentiable in the context.
        """
        prompts = self.fixed.expand(len(context), -1, -1).clone()  # (S, P + R, D_token)
        prompts[:, self.slots] = context.flatten(1, -2)[:, self.vectors]
        return tower.encode(prompts, self.packing, deeper)


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
        ValueError: If a prompt is longer than the tower takes, a word unknown, nothing left of a name, or two prompts
            the same; the message names the class.

    Source: CoOp (Zhou et al. 2022), sec. 3.2.
    """
    parts = arrangement(context_length, class_position)
    prompts = [prompt_tokens(parts, name, tower) for name in class_names]
    require_distinct(class_names, prompts, tower)
    rows, slots = zip(*[embed_prompt(tokens, tower) for tokens in prompts], strict=True)
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
    """Join K texts (T, ...) of any lengths into one row (P + R, ...); their first P = `shared` tokens are the same."""
    return torch.cat([texts[0][:shared], *(text[shared:] for text in texts)])


def packing_of(texts: Sequence[Tensor], shared: int) -> Packing:
    """Return the places where `pack` puts them."""
    return Packing.of(shared, [len(text) - shared for text in texts], device=texts[0].device)


def arrangement(context_length: int, class_position: str) -> list[Part]:
    """Context and texts in order, `{}` standing for the class name."""
    half = context_length // 2
    orders: dict[str, list[Part]] = {
        "end": [slice(0, context_length), "{}."],
        "middle": [slice(0, half), "{}", slice(half, context_length), "."],
        "front": ["{}", slice(0, context_length), "."],
    }
    return orders[class_position]


def readable(parts: list[Part]) -> str:
    """An arrangement for people: [M] stands for M context vectors."""
    words = (f"[{part.stop - part.start}]" if isinstance(part, slice) else part for part in parts)
    return " ".join(words).replace(" .", ".")


def prompt_tokens(parts: list[Part], class_name: str, tower: TextTower) -> list[int]:
    """Return the tokens of one prompt, FREE for each context vector, without start and end.

    Raises:
        ValueError: If the prompt is longer than the tower takes; nothing is ever cut.
    """
    name = class_name.replace("_", " ")
    tokens: list[int] = []
    for part in parts:
        if isinstance(part, slice):
            tokens += [FREE] * (part.stop - part.start)
        else:
            tokens += tower.tokens(part.replace("{}", name))
    if len(tokens) + 2 > tower.context_length:
        free = tokens.count(FREE)
        context = f"{free} context vectors (context_length) and " if free else ""
        raise ValueError(
            f"class {name!r}: {context}the words make {len(tokens) + 2} tokens; the text tower takes "
            f"{tower.context_length}"
        )
    return tokens


def require_distinct(class_names: list[str], prompts: list[list], tower: TextTower) -> None:
    """Refuse classes that the tokenizer makes equal, as it does with "Crane" and "crane": the second would never win.

    Args:
        class_names: K names.
        prompts: The tokens of each class's prompts, K entries.
        tower: The text tower.

    Raises:
        ValueError: If two classes have the same tokens, or nothing is left of a name; the message names them.
    """
    seen: dict[str, str] = {}
    for name, tokens in zip(class_names, prompts, strict=True):
        if tower.is_silent(name.replace("_", " ")):
            raise ValueError(f"class {name!a}: the model's tokenizer leaves nothing of this name; {RENAME}")
        if (other := seen.get(str(tokens))) is not None:
            look_alike = unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name)
            both = " and ".join(ascii(each) if look_alike else repr(each) for each in (other, name))
            raise ValueError(
                f"classes {both}: the model's tokenizer makes the same tokens of both names, so no prompt can tell "
                f"them apart; {RENAME}, or join the classes"
            )
        seen[str(tokens)] = name


def embed_prompt(tokens: list[int], tower: TextTower) -> tuple[Tensor, list[int]]:
    """Return the embeddings (T, D_token) of one prompt, start and end included, and the positions of its context.

    The rows of the context are zero.
    """
    start, end = tower.frame()
    row = torch.cat([start, tower.embed(tokens), end])
    slots = [1 + index for index, token in enumerate(tokens) if token == FREE]
    row[slots] = 0
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
    """Return the initial context: N(0, std²), or the embeddings of some words.

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
        like = tower.frame()[0]
        drawn = [torch.randn(shape, generator=generator, dtype=like.dtype) for generator in generators]
        return std * torch.stack(drawn).to(like.device)
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
        ValueError: If a prompt is longer than the tower takes, a word unknown, nothing left of a name, or the prompts
            of two classes the same; the message names the class.

    Source: Radford et al. 2021, sec. 3.1.4.
    """
    prompts = handwritten_tokens(templates, class_names, tower)
    features = torch.stack([encode_class(of_class, tower) for of_class in prompts])  # (K, templates, D)
    if features.shape[1] == 1:
        return features.transpose(0, 1)
    return F.normalize(features.mean(1), dim=-1)[None]


def handwritten_tokens(templates: str | list[str], class_names: list[str], tower: TextTower) -> list[list[list[int]]]:
    """Return the tokens of each template with each class name, K lists of one list for each template.

    Raises:
        ValueError: As `handwritten` does.
    """
    templates = [templates] if isinstance(templates, str) else templates
    prompts = [[prompt_tokens([template], name, tower) for template in templates] for name in class_names]
    require_distinct(class_names, prompts, tower)
    return prompts


def encode_class(prompts: list[list[int]], tower: TextTower) -> Tensor:
    """Text features (templates, D), unit norm, of the prompts of one class, in one batch."""
    rows = [embed_prompt(tokens, tower)[0] for tokens in prompts]
    return tower.encode(pack(rows, shared=1)[None], packing_of(rows, shared=1))[0]
