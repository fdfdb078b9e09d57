"""The words near the vectors of a prompt, near their starts and near random vectors, as a table."""

from itertools import product

import pyarrow as pa
from torch import Generator, Tensor

from stages.interpretation.nearest_tokens import MEASURES, Vocabulary, nearest, twins_of

RANKS = 3  # words of each vector
MOST_CONTEXTS = 10  # of class-specific ones: those of the first classes
DIGITS = 6  # a sum may end otherwise elsewhere, behind these


def words_table(
    prompt: str,
    context: Tensor,
    start: Tensor,
    class_names: list[str],
    vocabulary: Vocabulary,
    generator: Generator,
) -> pa.Table:
    """The words nearest to each context vector, to its start, and to a random vector of the same size.

    Args:
        prompt: Its name.
        context: As it was learnt, (S, M, D_token) or (S, K, M, D_token); of the latter the first 10 classes are told.
        start: Where it began, of the same shape.
        class_names: K names.
        vocabulary: What to choose from.
        generator: Source of the random vectors.

    Returns:
        Rows: prompt, seed, class (empty where the context is shared), position (from 1), size (root mean square of the
        vector's entries), measure, among (how many words), rank (from 1), word, value (distance or cosine), random (the
        value of the word of this rank for the random vector), start_word and start_value.
    """
    learnt, began = (by_class(vectors) for vectors in (context, start))  # (S, classes told, M, D_token)
    names = class_names[: learnt.shape[1]] if context.ndim == 4 else [""]
    places = [(seed, name, at + 1) for seed in range(len(learnt)) for name in names for at in range(learnt.shape[2])]
    vectors = learnt.flatten(0, 2)
    sizes = vectors.square().mean(1).sqrt().tolist()
    compared = (vectors, twins_of(vectors, generator), began.flatten(0, 2))
    rows = []
    for measure in MEASURES:
        found = [nearest(each, vocabulary, measure, count=RANKS) for each in compared]
        (words, values), (_, random), (first_words, first_values) = (
            (which.tolist(), near.tolist()) for which, near in found
        )
        for (index, (seed, name, at)), rank in product(enumerate(places), range(RANKS)):
            row = {
                "prompt": prompt,
                "seed": seed,
                "class": name,
                "position": at,
                "size": sizes[index],
                "measure": measure,
                "among": len(vocabulary.words),
                "rank": rank + 1,
                "word": vocabulary.words[words[index][rank]],
                "value": values[index][rank],
                "random": random[index][rank],
                "start_word": vocabulary.words[first_words[index][rank]],
                "start_value": first_values[index][rank],
            }
            rows.append({key: round(cell, DIGITS) if isinstance(cell, float) else cell for key, cell in row.items()})
    return pa.Table.from_pylist(rows)


def by_class(context: Tensor) -> Tensor:
    """Contexts of any shape -> (S, classes told, M, D_token), float64, on the CPU; a shared one counts as one class."""
    context = context.detach().cpu().double()
    return context[:, None] if context.ndim == 3 else context[:, :MOST_CONTEXTS]
