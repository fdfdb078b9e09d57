"""The tokens near the context vectors of a method, near their initial values and near random vectors, as a table."""

from itertools import product

import pyarrow as pa
from torch import Generator, Tensor

from stages.interpretation.nearest_tokens import MEASURES, Vocabulary, nearest, random_like

RANKS = 3  # tokens of each vector
MOST_CONTEXTS = 10  # of class-specific ones: those of the first classes
DIGITS = 6  # a sum may end otherwise elsewhere, behind these
COLUMNS = {
    "method": pa.string(), "seed": pa.int64(), "class": pa.string(), "position": pa.int64(), "size": pa.float64(),
    "measure": pa.string(), "among": pa.int64(), "rank": pa.int64(), "word": pa.string(), "value": pa.float64(),
    "random": pa.float64(), "start_word": pa.string(), "start_value": pa.float64(),
}  # fmt: skip


def nearest_tokens_table(
    method: str, context: Tensor, start: Tensor, class_names: list[str], vocabulary: Vocabulary, generator: Generator
) -> pa.Table:
    """Return the tokens nearest to each context vector, to its initial value, and to a random vector of the same size.

    Args:
        method: Its name.
        context: As it was learnt, (S, M, D_token) or (S, K, M, D_token); of the latter the first 10 classes are used.
        start: Its initial value, of the same shape.
        class_names: K names.
        vocabulary: The tokens.
        generator: Source of the random vectors.

    Returns:
        Rows: method, seed, class (empty where the context is shared), position (from 1), size (root mean square of the
        vector's entries), measure, among (number of tokens), rank (from 1), word, value (distance or cosine), random
        (the value of the token of this rank for the random vector), start_word and start_value.
    """
    learnt, initial = (by_class(vectors) for vectors in (context, start))  # (S, classes, M, D_token)
    names = class_names[: learnt.shape[1]] if context.ndim == 4 else [""]
    places = [(seed, name, at + 1) for seed in range(len(learnt)) for name in names for at in range(learnt.shape[2])]
    vectors = learnt.flatten(0, 2)
    sizes = vectors.square().mean(1).sqrt().tolist()
    compared = (vectors, random_like(vectors, generator), initial.flatten(0, 2))
    rows = []
    for measure in MEASURES:
        found = [[part.tolist() for part in nearest(each, vocabulary, measure, count=RANKS)] for each in compared]
        (words, values), (_, random), (start_words, start_values) = found
        for (index, place), rank in product(enumerate(places), range(RANKS)):
            near = (vocabulary.words[words[index][rank]], values[index][rank], random[index][rank])
            before = (vocabulary.words[start_words[index][rank]], start_values[index][rank])
            row = (method, *place, sizes[index], measure, len(vocabulary.words), rank + 1, *near, *before)
            rows.append([round(cell, DIGITS) if isinstance(cell, float) else cell for cell in row])
    return pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in rows], schema=pa.schema(COLUMNS))


def by_class(context: Tensor) -> Tensor:
    """Return contexts of any shape as (S, classes, M, D_token), float64, on the CPU; a shared one has one class."""
    context = context.detach().cpu().double()
    return context[:, None] if context.ndim == 3 else context[:, :MOST_CONTEXTS]
